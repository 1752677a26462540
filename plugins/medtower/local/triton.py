"""The real Triton server without a container: the binary inside the PyPI wheel `nvidia-pytriton`, in an environment of its own.

The wheel lacks NVIDIA's native ONNX Runtime backend, so a Python-based backend of the same name takes its place: `triton_models/` stays
byte for byte the same here and on the tower.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from medtower import atomic_file
from medtower.errors import NotFound, Unavailable

ENVIRONMENT = Path(".venv-triton")
PART = "Triton"
ENVIRONMENT_NOTE = "environment"


def prepare(home: Path, environment: Path = ENVIRONMENT) -> None:
    """Build `home`/triton (backends, and which environment the server runs in) and the empty model store `home`/store.

    Safe to run again, also under a running server. Raises NotFound when the environment is missing or lacks the wheel.
    """
    wheel, place = _wheel(environment), home.absolute() / "triton"
    backends = place / "backends"
    for file in sorted((wheel / "backends" / "python").iterdir()):
        _place(file, backends / "python" / file.name)
    _place(_stub(wheel, environment), backends / "python" / "triton_python_backend_stub", mode=0o755)
    _place(Path(__file__).with_name("onnxruntime_backend.py"), backends / "onnxruntime" / "model.py")
    (home.absolute() / "store").mkdir(parents=True, exist_ok=True)
    (place / ENVIRONMENT_NOTE).write_text(str(environment.absolute()))


def command(home: Path, ports: Mapping[str, int], admin_key: str) -> list[str]:
    """The argument list of the server that `prepare` made ready in `home`. `ports` has http, grpc and metrics.

    Nothing is loaded at start: the reconciler re-hashes the weights first. Any local user can read `admin_key` in the process list: the
    server takes restricted keys from its command line only (no file, no environment variable). On a machine shared with people who may not
    control models, run the tower as a user of its own and mount /proc with hidepid=2.
    """
    home = home.absolute()
    return [
        str(_wheel(_environment_of(home)) / "bin" / "tritonserver"),
        f"--model-repository={home / 'store'}",
        f"--backend-directory={home / 'triton' / 'backends'}",
        "--model-control-mode=explicit",
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--disable-auto-complete-config",  # the reconciler renders it whole; completing it starts another process for every load
        "--http-address=127.0.0.1",
        f"--http-port={ports['http']}",
        "--http-thread-count=8",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={ports['grpc']}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={ports['metrics']}",
        "--allow-gpu-metrics=false",
        f"--http-restricted-api=model-repository:X-Admin={admin_key}",
        f"--grpc-restricted-protocol=model-repository:admin={admin_key}",
        "--exit-timeout-secs=5",
        "--log-format=ISO8601",
    ]


def environment(home: Path) -> dict[str, str]:
    """The environment of the process. The stub finds its packages through the first `python3` on PATH, not through PYTHONPATH."""
    chosen = _environment_of(home)
    libraries = [_library_folder(chosen), str(_wheel(chosen).parents[1] / "nvidia_pytriton.libs")]
    return {
        "PATH": os.pathsep.join([str(chosen / "bin"), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "LC_ALL": "C.UTF-8",
    }


def _environment_of(home: Path) -> Path:
    note = home.absolute() / "triton" / ENVIRONMENT_NOTE
    if not note.is_file():
        raise NotFound("a prepared Triton", str(home), "start the tower with: make up")
    return Path(note.read_text())


def _wheel(environment: Path) -> Path:
    found = sorted(environment.absolute().glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    if not found:
        raise NotFound("the Triton server", str(environment), "make it with: make setup")
    return found[0]


def _stub(wheel: Path, environment: Path) -> Path:
    version = wheel.parents[2].name.removeprefix("python")
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise NotFound(
            f"a Triton python stub for Python {version}",
            str(environment),
            "build it with Python 3.11 or 3.12",
        )
    return stub


@functools.lru_cache
def _library_folder(environment: Path) -> str:
    """Where that environment's libpython lies; the server and the stub are linked against it."""
    script = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    asked = subprocess.run(
        [environment.absolute() / "bin" / "python", "-c", script], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise Unavailable(
            PART, f"{environment}/bin/python does not run; remove {environment} and set it up again"
        )
    return asked.stdout.strip()


def _place(source: Path, target: Path, mode: int | None = None) -> None:
    """Copy through a temporary name: a running server keeps the file it has open, and never sees half of one."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    atomic_file.write(target, source.read_bytes(), mode=mode or 0o644)
