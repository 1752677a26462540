"""Put a rendered page into the reports folder; a reader sees the old page or the new one, never half."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from medtower import atomic_file
from medtower.reports.render import render

INDEX = "index.html"


def publish(folder: Path, name: str, template: str, **context: Any) -> Path:
    """Render `template` to `folder`/`name` and return its path. Raises OSError when the disk is full; the old page stays then."""
    path = folder / name
    atomic_file.write(path, render(template, **context))
    return path


def publish_index(folder: Path) -> Path:
    """Put a page into `folder` that lists every other page in and below it; return its path. Raises OSError as `publish` does."""
    pages = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.html") if p.name != INDEX)
    return publish(folder, INDEX, "index.html.j2", pages=pages)


def remove_old(folder: Path, before: datetime) -> int:
    """Delete the pages in `folder`, and drafts of pages that a killed process left, last written before `before`. Returns how many."""
    old = [p for p in folder.glob("*.html*") if p.is_file() and p.stat().st_mtime < before.timestamp()]
    for page in old:
        page.unlink(missing_ok=True)
    return len(old)
