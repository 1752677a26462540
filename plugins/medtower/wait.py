"""Waiting for another part to catch up: the one place where this package sleeps until something is true."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_SECONDS = 0.05


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = LOOK_SECONDS) -> bool:
    """Ask `condition` once, then `every` so many seconds, until it holds (True) or `seconds` are over (False). What it raises ends the waiting."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= ends:
            return False
        time.sleep(every)
    return True
