"""What came of the rows so far, a line of JSON each, in their order. It only grows, and a line that is there is true."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from io import BufferedRandom
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """The journal at `path`. `open`, `append` and `close` may be called from different threads: who opens it in a thread and is cancelled meanwhile closes
    it all the same, and the file is not left open."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self.failed: dict[str, int] = {}
        self._path, self._closed = path, False
        self._file: BufferedRandom | None = None
        self._turn = threading.Lock()

    def open(self) -> None:
        """Make the file when it is missing, and count what stands in it. What a crash left of a half-written tail is cut off. Does nothing once closed."""
        with self._turn:
            if self._closed:
                return
            file = self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
            end = 0
            for line in file:
                if not self._counted(line):
                    break
                end += len(line)
            file.truncate(end)
            file.seek(end)

    def append(self, lines: Iterable[Line]) -> None:
        """Add the lines of the next rows. They are on the disk when this returns. Raises OSError, ValueError when it is not open."""
        written = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines]
        with self._turn:
            if self._closed or self._file is None:
                raise ValueError("the journal is not open")
            self._file.write(b"".join(written))
            self._file.flush()
            os.fsync(self._file.fileno())
            for line in written:
                self._counted(line)

    def close(self) -> None:
        """For good. Waits for what another thread does with it."""
        with self._turn:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def _counted(self, line: bytes) -> bool:
        """Whether the line is whole and that of the next row; then it counts."""
        try:
            read = json.loads(line) if line.endswith(b"\n") else {}
        except ValueError:
            return False
        if not isinstance(read, dict) or read.get("row") != self.rows + 1:
            return False
        self.rows += 1
        if error := read.get("error"):
            self.failed[error] = self.failed.get(error, 0) + 1
        return True
