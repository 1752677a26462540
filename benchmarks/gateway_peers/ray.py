"""Ray Serve: one replica behind its HTTP proxy, on a Ray of its own without a dashboard, its access log off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.gateway_peers import environment, rows, v2
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.process import ROOT, free_ports, served
from benchmarks.gateway_peers.target import Http, Running

NAMES = ("ray_serve",)


@contextmanager
def started(backing: Backing) -> Iterator[Running]:
    folder, (port,) = environment.made("ray"), free_ports(1)
    script = ROOT / "benchmarks/gateway_peers/served/ray_served.py"
    argv = [str(folder / "bin" / "python"), str(script), str(port), str(backing.home / "ray")]
    surroundings = {"NETWORK": str(backing.network.path), "RAY_USAGE_STATS_ENABLED": "0"}
    url, asked = f"http://127.0.0.1:{port}", rows.bodies(backing.network, "features", nested=False)
    with served("ray_serve", argv, surroundings, backing.home, f"{url}/-/healthz") as process:
        target = Http(
            "ray_serve", f"{url}/predict", v2.JSON, asked, lambda answer: rows.number(answer, "prediction")
        )
        yield Running(process, environment.version(folder, "ray"), [target])
