"""Put a rendered page into the reports folder; a reader sees the old page or the new one, never half."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medtower.reports.render import render


def publish(folder: Path, name: str, template: str, **context: Any) -> Path:
    """Render `template` to `folder`/`name` and return its path. Raises OSError when the disk is full; the old page stays then."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(render(template, **context), encoding="utf-8")
    temporary.replace(path)
    return path
