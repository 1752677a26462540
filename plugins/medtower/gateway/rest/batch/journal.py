"""What came of the rows so far, a line of JSON each, in their order. It only grows, and a line that is there is true."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Journal:
    """The journal at `path`, made when it is missing. What a crash left of a half-written tail is cut off."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self.failed: dict[str, int] = {}
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        end = 0
        for line in self._file:
            if not self._counted(line):
                break
            end += len(line)
        self._file.truncate(end)
        self._file.seek(end)

    def append(self, lines: Iterable[Line]) -> None:
        """Add the lines of the next rows. They are on the disk when this returns. Raises OSError."""
        written = [json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines]
        self._file.write(b"".join(written))
        self._file.flush()
        os.fsync(self._file.fileno())
        for line in written:
            self._counted(line)

    def close(self) -> None:
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
