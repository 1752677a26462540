"""Files that are replaced whole: a reader sees the old content or the new one, never half, also after a power cut.

A draft is written and synced, renamed over the file, and the folder is synced: a rename is durable only once its folder is
(Pillai et al., OSDI 2014, "All File Systems Are Not Created Equal").
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: Path, content: str | bytes, *, mode: int | None = None, drafts: Path | None = None) -> None:
    """Make `content` (text as UTF-8) the whole of the file `path`, as `draft` does."""
    with draft(path, mode=mode, drafts=drafts) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def draft(path: Path, *, mode: int | None = None, drafts: Path | None = None) -> Iterator[Path]:
    """An empty file to fill, which becomes `path` when the block ends; when it raises, the draft goes and `path` stays as it was.

    `mode` are the file's permissions, and no looser ones at any moment; without it the umask decides. The draft is a hidden file beside
    `path`, whose folder is made, or in the folder `drafts` on the same disk. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = (drafts or path.parent) / f".{path.name}.{secrets.token_hex(8)}"
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode))
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)  # what the umask took away
        sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the disk keep what the file or folder at `path` holds now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
