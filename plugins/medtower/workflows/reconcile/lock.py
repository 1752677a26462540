"""One reconciler a store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medtower.errors import Conflict


@contextmanager
def exclusively(lock: Path) -> Iterator[None]:
    """Hold the lock; the system lets go of it when the process dies. Raises Conflict when another process holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another reconciler works on {lock.parent}; stop it first") from None
        yield
    finally:
        os.close(descriptor)
