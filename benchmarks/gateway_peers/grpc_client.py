"""The gRPC client, a process of its own: `grpc.aio`, one channel, every caller waits for its answer before it asks again.

`python -m benchmarks.gateway_peers.grpc_client` reads its orders (JSON) from standard input. Requests travel as bytes that were made
before, and answers are not parsed: what is left is the client library's own cost, the same for every server.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio
import numpy as np
from benchmarks.gateway_peers.load import PREFIX, Load, parse
from benchmarks.gateway_peers.process import ROOT, Unusable

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def load(
    address: str, metadata: Mapping[str, str], requests: Sequence[bytes], *, callers: int, seconds: float
) -> Load:
    """Send `requests` (serialised ModelInferRequest) in turn to `address` with `callers` at once for `seconds`. Raises Unusable."""
    orders = {
        "address": address,
        "metadata": dict(metadata),
        "requests": [base64.b64encode(request).decode() for request in requests],
        "callers": callers,
        "seconds": seconds,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gateway_peers.grpc_client"],
        input=json.dumps(orders),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode:
        raise Unusable("the gRPC client", (done.stderr.strip().splitlines() or ["no message"])[-1])
    return parse(done.stdout)


def ask(address: str, metadata: Mapping[str, str], request: bytes) -> bytes:
    """One answer (serialised ModelInferResponse). Raises Unusable with the status."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer: bytes = channel.unary_unary(METHOD)(request, metadata=list(metadata.items()), timeout=10)
        except grpc.RpcError as error:
            raise Unusable(address, f"gRPC {error.code().name}: {error.details()}") from None
    return answer


async def _drive(orders: Mapping[str, Any]) -> dict[str, float]:
    requests = [base64.b64decode(request) for request in orders["requests"]]
    metadata, taken, errors = list(orders["metadata"].items()), list[float](), 0
    async with grpc.aio.insecure_channel(orders["address"]) as channel:
        call = channel.unary_unary(METHOD)
        await call(requests[0], metadata=metadata, timeout=10)
        began = time.perf_counter()
        ends = began + orders["seconds"]

        async def caller(turn: int) -> None:
            nonlocal errors
            started = time.perf_counter()
            while started < ends:
                turn = (turn + 1) % len(requests)
                try:
                    await call(requests[turn], metadata=metadata, timeout=10)
                except grpc.RpcError:
                    errors += 1
                now = time.perf_counter()
                taken.append(now - started)
                started = now

        await asyncio.gather(*(caller(number) for number in range(orders["callers"])))
        lasted = time.perf_counter() - began
    p50, p95, p99 = (float(value) for value in np.quantile(taken, [0.5, 0.95, 0.99]) * 1e6)
    return {"requests": len(taken), "errors": errors, "seconds": lasted, "p50": p50, "p95": p95, "p99": p99}


if __name__ == "__main__":
    sys.stdout.write(PREFIX + json.dumps(asyncio.run(_drive(json.load(sys.stdin)))) + "\n")
