"""Logs are JSON from an allow-list, and what an exception says never comes into them."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from medtower import log as logs

CANARY = "Zaphod-4711"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Everything that any logger writes in this thread, as it would be on stderr. A thread that another test left may have something to say as well."""
    written, here = io.StringIO(), threading.get_ident()
    handler = logging.StreamHandler(written)
    handler.addFilter(lambda record: record.thread == here)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failing() -> None:
    float(CANARY)  # says: could not convert string to float: 'Zaphod-4711'


@dataclass
class Request:
    request_id: str
    trace_id: str


def test_a_line_names_the_request_and_the_trace_it_belongs_to(stream: io.StringIO) -> None:
    token = logs.answering.set(Request("case-1", "ab" * 16))
    logging.getLogger("medtower.gateway").warning("no answer", extra={"code": 503, "subject": CANARY})
    logs.answering.reset(token)
    logging.getLogger("medtower.gateway").info("later")
    during, later = lines(stream)
    assert (during["request_id"], during["trace_id"], during["code"]) == ("case-1", "ab" * 16, 503)
    assert "request_id" not in later
    assert "subject" not in during


def test_of_an_exception_only_its_type_and_place_are_logged(stream: io.StringIO) -> None:
    try:
        failing()
    except ValueError:
        logging.getLogger("medtower.gateway").exception("no answer")
    (line,) = lines(stream)
    assert (line["message"], line["error"]) == ("no answer", "ValueError")
    assert line["where"].startswith("test_log.py:")
    assert CANARY not in stream.getvalue()


OTHERS: list[Callable[[logging.Logger], None]] = [
    lambda logger: logger.error("could not handle %r", CANARY),
    lambda logger: logger.error(f"Task exception was never retrieved\nfuture: <Task exception={CANARY!r}>"),
    lambda logger: logger.error(ValueError(CANARY)),
    lambda logger: logger.warning("%(value)s", {"value": CANARY}),
    lambda logger: logger.critical("broken: %s", ValueError(CANARY), exc_info=ValueError(CANARY)),
]


@pytest.mark.parametrize("write", OTHERS)
def test_what_other_libraries_complain_about_is_logged_without_what_they_put_into_it(
    stream: io.StringIO, write: Callable[[logging.Logger], None]
) -> None:
    write(logging.getLogger("uvicorn.error"))
    (line,) = lines(stream)
    assert line["logger"] == "uvicorn.error"
    assert line["message"]
    assert CANARY not in stream.getvalue()


def test_a_task_that_failed_unseen_does_not_tell_what_it_failed_at(stream: io.StringIO) -> None:
    async def story() -> None:
        async def forgotten() -> None:
            failing()

        task = asyncio.get_running_loop().create_task(forgotten())
        await asyncio.wait({task})
        del task
        gc.collect()

    asyncio.run(story())
    (line,) = lines(stream)
    assert line["message"] == "Task exception was never retrieved"
    assert line["error"] == "ValueError"
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    "code",
    [
        "float('Zaphod' + '-4711')",
        "import threading; thread = threading.Thread(target=float, args=('Zaphod' + '-4711',)); thread.start(); thread.join()",
        "import logging; logging.getLogger('medtower').info('%d', 'Zaphod' + '-4711')",
    ],
    ids=["process", "thread", "a line that cannot be formatted"],
)
def test_no_way_leads_past_the_formatter(code: str) -> None:
    program = f"from medtower import log; log.configure(); {code}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert CANARY not in done.stdout + done.stderr
    for line in done.stderr.splitlines():
        assert json.loads(line)["error"] == "ValueError"
