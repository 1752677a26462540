"""A bare FastAPI with ONNX Runtime in the process, under uvicorn with uvloop: the least that one can write oneself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.gateway_peers import environment, rows, v2
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.process import ROOT, free_ports, served
from benchmarks.gateway_peers.target import Http, Running

NAMES = ("fastapi",)


@contextmanager
def started(backing: Backing) -> Iterator[Running]:
    folder, (port,) = environment.made("fastapi"), free_ports(1)
    argv = [
        *(
            str(folder / "bin" / "uvicorn"),
            "fastapi_served:app",
            "--app-dir",
            str(ROOT / "benchmarks/gateway_peers/served"),
        ),
        *(
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--loop",
            "uvloop",
            "--http",
            "httptools",
            "--no-access-log",
        ),
    ]
    url, asked = f"http://127.0.0.1:{port}", rows.bodies(backing.network, "features", nested=False)
    with served(
        "fastapi", argv, {"NETWORK": str(backing.network.path)}, backing.home, f"{url}/health"
    ) as process:
        target = Http(
            "fastapi", f"{url}/predict", v2.JSON, asked, lambda answer: rows.number(answer, "prediction")
        )
        yield Running(process, environment.version(folder, "fastapi"), [target])
