"""What is measured: one protocol of one running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx
from benchmarks.gateway_peers import grpc_client, wrk
from benchmarks.gateway_peers.load import Load
from benchmarks.gateway_peers.network import TOLERANCE, Network
from benchmarks.gateway_peers.process import Served, Unusable

CHECKED = 16


class Target(Protocol):
    """`name` is its key in gateway.json. `ask` answers one row, `load` drives it."""

    @property
    def name(self) -> str: ...

    def ask(self, row: int) -> float: ...

    def load(self, *, callers: int, seconds: float) -> Load: ...


@dataclass(frozen=True)
class Http:
    """`bodies` are the rows, one request each; `read` finds the prediction in an answer."""

    name: str
    url: str
    headers: Mapping[str, str]
    bodies: Sequence[bytes]
    read: Callable[[httpx.Response], float]

    def ask(self, row: int) -> float:
        answer = httpx.post(
            self.url, headers=dict(self.headers), content=self.bodies[row], timeout=10, trust_env=False
        )
        if answer.status_code != 200:
            raise Unusable(self.name, f"it answers {answer.status_code}: {answer.text[:120]}")
        return self.read(answer)

    def load(self, *, callers: int, seconds: float) -> Load:
        return wrk.load(self.url, self.headers, self.bodies, callers=callers, seconds=seconds)


@dataclass(frozen=True)
class Grpc:
    """`requests` are the rows as serialised ModelInferRequest; `read` finds the prediction in a serialised answer."""

    name: str
    address: str
    metadata: Mapping[str, str]
    requests: Sequence[bytes]
    read: Callable[[bytes], float]

    def ask(self, row: int) -> float:
        return self.read(grpc_client.ask(self.address, self.metadata, self.requests[row]))

    def load(self, *, callers: int, seconds: float) -> Load:
        return grpc_client.load(self.address, self.metadata, self.requests, callers=callers, seconds=seconds)


@dataclass(frozen=True)
class Running:
    """A server that answers: its process, its targets, and `settle`, which returns when nothing of the last load is left to do."""

    process: Served
    version: str
    targets: Sequence[Target]
    settle: Callable[[], None] = field(default=lambda: None)


def verify(target: Target, network: Network) -> None:
    """Raise Unusable unless the first 16 answers are ONNX Runtime's, within 1e-5: a fast wrong server is no peer."""
    for row in range(CHECKED):
        try:
            said = target.ask(row)
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Unusable(
                target.name, f"it gives no answer that can be read ({type(error).__name__})"
            ) from None
        off = abs(said - float(network.answers[row]))
        if not off <= TOLERANCE:
            raise Unusable(target.name, f"its answer differs from ONNX Runtime's by {off:.2g}")
