"""Structured logs: one JSON object a line, only fields from an allow-list. A field that is not listed never reaches a log."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

ALLOWED = frozenset(
    {
        "model", "version", "digest", "role", "commit", "request_id", "arm", "code", "seconds", "n", "metric", "status", "feature", "severity",
        "part", "port", "run_id", "task", "step", "reason", "path", "url", "window", "count", "field", "rule",
    }
)  # fmt: skip


class JsonFormatter(logging.Formatter):
    """Format a record as JSON: time, level, logger, message, and the allow-listed fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {k: v for k, v in record.__dict__.items() if k in ALLOWED and v is not None}
        if record.exc_info and record.exc_info[0]:
            entry["error"] = record.exc_info[0].__name__
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure(level: int = logging.INFO) -> None:
    """Send this process's logs to stderr as JSON. Called once by each entry point."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "urllib3", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
