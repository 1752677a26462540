"""`mlflow models serve` with a model of MLflow's ONNX flavour, one worker, its access log off."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gateway_peers import environment, rows, v2
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.process import ROOT, Unusable, free_ports, served
from benchmarks.gateway_peers.target import Http, Running

NAMES = ("mlflow",)


@contextmanager
def started(backing: Backing) -> Iterator[Running]:
    folder, (port,) = environment.made("mlflow"), free_ports(1)
    model = _saved(folder, backing)
    argv = [
        *(str(folder / "bin" / "mlflow"), "models", "serve", "-m", str(model), "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    surroundings = {
        "PATH": os.pathsep.join(
            [str(folder / "bin"), os.environ.get("PATH", os.defpath)]
        ),  # it looks for uvicorn there
        "UVICORN_ACCESS_LOG": "false",
        "UVICORN_LOG_LEVEL": "warning",
        "MLFLOW_TRACKING_URI": f"sqlite:///{backing.home / 'mlflow.sqlite'}",
    }
    url, asked = f"http://127.0.0.1:{port}", rows.bodies(backing.network, "inputs", nested=True)
    with served("mlflow", argv, surroundings, backing.home, f"{url}/ping") as process:
        target = Http(
            "mlflow", f"{url}/invocations", v2.JSON, asked, lambda answer: rows.number(answer, "predictions")
        )
        yield Running(process, environment.version(folder, "mlflow"), [target])


def _saved(folder: Path, backing: Backing) -> Path:
    """The network as a model of MLflow. Raises Unusable."""
    model = backing.home / "mlflow-model"
    if not model.exists():
        script = ROOT / "benchmarks/gateway_peers/served/mlflow_saved.py"
        argv = [folder / "bin" / "python", script, backing.network.path, model]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=backing.home)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Unusable("mlflow", f"the model cannot be saved: {last}")
    return model
