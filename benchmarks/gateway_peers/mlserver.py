"""MLServer with a runtime of its own for ONNX. Inference is in the serving process, so that no request crosses to a worker process and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.gateway_peers import environment, v2
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.network import MODEL
from benchmarks.gateway_peers.process import ROOT, free_ports, served
from benchmarks.gateway_peers.target import Http, Running

NAMES = ("mlserver",)


@contextmanager
def started(backing: Backing) -> Iterator[Running]:
    folder, ports = environment.made("mlserver"), free_ports(3)
    place = backing.home / "mlserver"
    place.mkdir(exist_ok=True)
    names = ("http_port", "grpc_port", "metrics_port")
    settings = {
        "host": "127.0.0.1",
        "debug": False,
        "parallel_workers": 0,
        **dict(zip(names, ports, strict=True)),
    }
    model = {
        "name": MODEL,
        "implementation": "mlserver_served.Network",
        "parameters": {"uri": str(backing.network.path)},
    }
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(json.dumps(model))
    argv = [str(folder / "bin" / "mlserver"), "start", str(place)]
    surroundings = {"PYTHONPATH": str(ROOT / "benchmarks/gateway_peers/served")}
    url, asked = f"http://127.0.0.1:{ports[0]}", v2.json_bodies(backing.network)
    with served("mlserver", argv, surroundings, backing.home, f"{url}/v2/models/{MODEL}/ready") as process:
        target = Http("mlserver", url + v2.PATH, v2.JSON, asked, v2.read_json)
        yield Running(process, environment.version(folder, "mlserver"), [target])
