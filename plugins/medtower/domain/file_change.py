"""What one commit does to one file."""

from __future__ import annotations

from dataclasses import dataclass

PLAIN_FILE = ("100644", "100755")


@dataclass(frozen=True)
class FileChange:
    """`before` and `after` are git's ids of the contents, None where there is no file; `mode` is git's of what is there afterwards."""

    path: str
    before: str | None
    after: str | None
    mode: str = PLAIN_FILE[0]
