"""A file that others replace while we serve: whether there is another one by now."""

from __future__ import annotations

import os
import time
from pathlib import Path

SHARED_SECONDS = 0.0005
"""Requests that come within this time share one look: it takes some microseconds, and each of them would look several times."""


class Watched:
    """The file at `path`. `changed` is true until `look` is called, which is done before the file is read: one that changes in between is read
    again."""

    def __init__(self, path: Path) -> None:
        self._name = os.fspath(path)
        self._seen: tuple[int, ...] | None = None
        self._next = 0.0

    def changed(self) -> bool:
        """Whether it is another file than at the last `look`."""
        now = time.monotonic()
        if now < self._next:
            return False
        if self._signature() != self._seen:
            return True
        self._next = now + SHARED_SECONDS
        return False

    def look(self) -> None:
        """Take the file as it is now for the known one."""
        self._seen = self._signature()

    def _signature(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self._name)  # noqa: PTH116 - a third of what pathlib takes
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
