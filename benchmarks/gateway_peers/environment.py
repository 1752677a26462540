"""The environment of one peer: `.venv-peers-<name>`, made from `benchmarks/peers/<name>.lock` on first use and when the lock changes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.gateway_peers.process import ROOT, Unusable

LOCKS = ROOT / "benchmarks" / "peers"
SECONDS = 900


def made(name: str) -> Path:
    """The environment's folder. Raises Unusable with the installer's last line when it cannot be made."""
    lock, folder = LOCKS / f"{name}.lock", ROOT / f".venv-peers-{name}"
    done, wanted = folder / ".done", hashlib.sha256(lock.read_bytes()).hexdigest()
    if done.is_file() and done.read_text() == wanted:
        return folder
    uv = str(Path(sys.executable).parent / "uv")
    _run(name, [uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)])
    _run(name, [uv, "pip", "install", "-q", "--python", str(folder / "bin" / "python"), "-r", str(lock)])
    done.write_text(wanted)
    return folder


def version(folder: Path, package: str) -> str:
    """The version of `package` in the environment."""
    script = f"from importlib.metadata import version; print(version({package!r}))"
    asked = subprocess.run(
        [folder / "bin" / "python", "-c", script], capture_output=True, text=True, check=True
    )
    return asked.stdout.strip()


def _run(name: str, argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(name, f"it cannot be installed: {type(error).__name__}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1].strip()
        raise Unusable(name, f"it cannot be installed: {last}")
