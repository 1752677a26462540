"""BentoML: one service, one worker, an asynchronous API, its access log off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.gateway_peers import environment, rows, v2
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.process import ROOT, free_ports, served
from benchmarks.gateway_peers.target import Http, Running

NAMES = ("bentoml",)


@contextmanager
def started(backing: Backing) -> Iterator[Running]:
    folder, (port,) = environment.made("bentoml"), free_ports(1)
    argv = [
        *(str(folder / "bin" / "bentoml"), "serve", "bentoml_served:Network"),
        *(
            "--working-dir",
            str(ROOT / "benchmarks/gateway_peers/served"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ),
    ]
    surroundings = {
        "NETWORK": str(backing.network.path),
        "BENTOML_HOME": str(backing.home / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    url, asked = f"http://127.0.0.1:{port}", rows.bodies(backing.network, "features", nested=False)
    with served("bentoml", argv, surroundings, backing.home, f"{url}/readyz") as process:
        target = Http("bentoml", f"{url}/predict", v2.JSON, asked, lambda answer: float(answer.text))
        yield Running(process, environment.version(folder, "bentoml"), [target])
