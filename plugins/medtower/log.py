"""Structured logs: one JSON object a line, only fields from an allow-list. A field that is not listed never reaches a log.

What an exception says may hold what a caller sent (a ValueError names the value), so of an exception only its type and the line of code are written,
and of what other libraries report as a warning or worse only the first line of their own text, without what they would put into it.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol

ALLOWED = frozenset(
    {
        "model", "version", "digest", "role", "commit", "request_id", "trace_id", "arm", "code", "seconds", "n", "metric", "status", "feature",
        "severity", "part", "port", "run_id", "task", "step", "reason", "path", "url", "window", "count", "field", "rule", "caller", "cached",
        "skipped",
    }
)  # fmt: skip
OURS = "medtower"


class Request(Protocol):
    """What every line says that is written while a request is being answered; empty when it is not known."""

    @property
    def request_id(self) -> str: ...

    @property
    def trace_id(self) -> str: ...


answering: ContextVar[Request | None] = ContextVar("answering", default=None)


class JsonFormatter(logging.Formatter):
    """Format a record as JSON: time, level, logger, message, the ids of the request it belongs to, and the allow-listed fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if request := answering.get():
            entry |= {"request_id": request.request_id or None, "trace_id": request.trace_id or None}
        entry |= {k: v for k, v in record.__dict__.items() if k in ALLOWED}
        if record.exc_info and record.exc_info[0]:
            entry |= {"error": record.exc_info[0].__name__, "where": _where(record.exc_info[2])}
        return json.dumps({k: v for k, v in entry.items() if v is not None}, default=str, ensure_ascii=False)


def configure(level: int = logging.INFO) -> None:
    """Send this process's logs to stderr as JSON, errors that end it or one of its threads among them. Called once by each entry point."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # a line that cannot be formatted would be printed with all that was to go into it
    logging.raiseExceptions = False
    for noisy in ("httpx", "httpcore", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.excepthook = _ended
    threading.excepthook = _ended_thread


def _message(record: logging.LogRecord) -> str:
    if record.name.partition(".")[0] == OURS or record.levelno < logging.WARNING:
        return record.getMessage()
    return record.msg.partition("\n")[0] if isinstance(record.msg, str) else type(record.msg).__name__


def _where(trace: TracebackType | None) -> str | None:
    """The file and line where an exception was raised."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else None


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger(__name__).critical("an error ended the process", exc_info=(kind, error, trace))


def _ended_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value or args.exc_type()
    logging.getLogger(__name__).critical(
        "an error ended a thread", exc_info=(args.exc_type, error, args.exc_traceback)
    )
