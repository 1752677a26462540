"""With what a version was trained: kept in its run, so that a proposal made of it later, or twice, says the same."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from medtower.adapters.git import Repository
from medtower.errors import MedtowerError

LIBRARIES = ("medtower", "torch", "onnx", "onnxruntime", "numpy", "mlflow")


def now() -> dict[str, object]:
    """{created_at, code_commit, dependencies} of a training that happens now, as JSON keeps them."""
    return {
        "created_at": datetime.now(UTC).replace(microsecond=0).isoformat(),
        "code_commit": code_commit(),
        "dependencies": {"python": platform.python_version()}
        | {library: metadata.version(library) for library in LIBRARIES},
    }


def code_commit() -> str:
    """The commit of the code that runs (`-dirty` when it was changed since); 'unknown' for an installation without its repository."""
    try:
        return Repository(Path(__file__).resolve().parents[3]).head_commit()
    except MedtowerError:
        return "unknown"
