"""One row as most servers take it: a JSON object with a list of numbers."""

from __future__ import annotations

import json

import httpx
from benchmarks.gateway_peers.network import Network


def bodies(network: Network, name: str, *, nested: bool) -> list[bytes]:
    """`{name: [numbers]}` a row, or `{name: [[numbers]]}` when `nested`: a batch of one."""
    rows = [[round(float(value), 3) for value in row] for row in network.rows]
    return [json.dumps({name: [row] if nested else row}).encode() for row in rows]


def number(answer: httpx.Response, name: str) -> float:
    """The number under `name` of the answer, out of as many lists as it lies in."""
    value = answer.json()[name]
    while isinstance(value, list | dict):
        (value,) = value if isinstance(value, list) else value.values()
    return float(value)
