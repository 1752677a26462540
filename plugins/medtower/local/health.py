"""Waiting for a process by its health, never by a sleep of guessed length."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from medtower.errors import DeadlineExceeded
from medtower.wait import wait_until

POLL_SECONDS = 0.1


def poll(check: Callable[[], bool], *, part: str, deadline: float, log: Path | None = None) -> float:
    """Call `check` until it is true; return the seconds it took. Raises DeadlineExceeded naming `part` and `log`.

    `check` may raise a MedtowerError of its own to stop the waiting at once (a dead process, for example).
    """
    started = time.monotonic()
    if not wait_until(check, deadline, every=POLL_SECONDS):
        raise DeadlineExceeded(part, deadline, log)
    return time.monotonic() - started


def answers(url: str, component: str | None = None) -> bool:
    """True when a GET of `url` answers with a status below 400 and, where a `component` is named, the page calls that part healthy."""
    try:
        answer = httpx.get(url, timeout=2, trust_env=False)
        return answer.status_code < 400 and (component is None or _healthy(answer.json(), component))
    except (httpx.HTTPError, ValueError):
        return False


def _healthy(report: dict[str, dict[str, str | None]], component: str) -> bool:
    return report.get(component, {}).get("status") == "healthy"
