"""Raw Triton, without anything in front of it: V2 over HTTP with JSON, with binary tensors, and over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from benchmarks.gateway_peers import v2
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.target import Grpc, Http, Running

NAMES = ("triton_http_json", "triton_http_binary", "triton_grpc")


@contextmanager
def started(backing: Backing) -> Iterator[Running]:
    """Triton with the network, for the length of the block."""
    process, network, url = backing.start_triton(), backing.network, f"http://{backing.triton_url}"
    try:
        headers, bodies = v2.binary(network)
        address = f"127.0.0.1:{backing.triton_ports['grpc']}"
        yield Running(
            process,
            str(httpx.get(f"{url}/v2", trust_env=False).json()["version"]),
            [
                Http(NAMES[0], url + v2.PATH, v2.JSON, v2.json_bodies(network), v2.read_json),
                Http(NAMES[1], url + v2.PATH, headers, bodies, v2.read_binary),
                Grpc(NAMES[2], address, {}, v2.grpc_requests(network), v2.read_grpc),
            ],
        )
    finally:
        backing.stop_triton()
