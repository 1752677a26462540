"""Where a server spends its time under load: py-spy (https://github.com/benfred/py-spy), which looks from outside at 200 Hz."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medtower.errors import NotFound


@contextmanager
def of(pid: int, name: str, seconds: float, folder: Path, wanted: bool) -> Iterator[None]:
    """Record the process for the length of the block, when `wanted`, into `folder`/gateway-profile-`name`.json (speedscope). Raises NotFound."""
    if not wanted:
        yield
        return
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise NotFound(
            "py-spy", "PATH", "get it with: .venv/bin/uv pip install --python .venv/bin/python py-spy"
        )
    out = str(folder / f"gateway-profile-{name}.json")
    options = [
        "-f",
        "speedscope",
        "-r",
        "200",
        "-d",
        str(max(1, round(seconds))),
        "-s",
        "-o",
        out,
        "-p",
        str(pid),
    ]
    recorder = subprocess.Popen(
        [program, "record", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        recorder.wait(seconds + 60)
