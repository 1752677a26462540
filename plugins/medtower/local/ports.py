"""Which loopback port each process listens on: fixed by a setting, or the first free one from a place that depends on the home."""

from __future__ import annotations

import os
import socket
import zlib
from pathlib import Path

from medtower.errors import InvalidInput, PortTaken, Unavailable

NAMES = (
    "postgres",
    "mlflow",
    "triton_http",
    "triton_grpc",
    "triton_metrics",
    "gateway",
    "gateway_grpc",
    "reconciler",
    "airflow",
    "prometheus",
    "alertmanager",
)
DEFAULT_RANGE = "21000-28999"


def is_free(port: int) -> bool:
    """True when a server could bind 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose(home: Path) -> dict[str, int]:
    """Return a free port for every name. `MEDTOWER_PORT_<NAME>` fixes one, `MEDTOWER_PORT_RANGE` bounds the others.

    The search starts at a place derived from `home`, so a tower keeps its addresses and two towers seldom meet.
    Raises InvalidInput (a setting that is no port, or one port for two), PortTaken, and Unavailable when the range is used up.
    """
    taken: dict[str, int] = {}
    for name in NAMES:  # what is fixed goes first: no other process may be given that port
        if fixed := os.environ.get(f"MEDTOWER_PORT_{name.upper()}"):
            taken[name] = _fixed(name, fixed, taken)
    candidates = _candidates(home)
    for name in NAMES:
        if name not in taken:
            taken[name] = _next_free(candidates, set(taken.values()))
    return {name: taken[name] for name in NAMES}


def _candidates(home: Path) -> list[int]:
    text = os.environ.get("MEDTOWER_PORT_RANGE", DEFAULT_RANGE)
    low, _, high = text.partition("-")
    if not (_number(low) and _number(high) and 1024 <= int(low) <= int(high) <= 65535):
        raise InvalidInput(
            f"MEDTOWER_PORT_RANGE={text!r}: write LOWEST-HIGHEST between 1024 and 65535, as {DEFAULT_RANGE}"
        )
    ports = list(range(int(low), int(high) + 1))
    start = zlib.crc32(str(home).encode()) % len(ports)
    return ports[start:] + ports[:start]


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _fixed(name: str, value: str, taken: dict[str, int]) -> int:
    setting = f"MEDTOWER_PORT_{name.upper()}"
    if not _number(value) or not 1 <= int(value) <= 65535:
        raise InvalidInput(f"{setting}={value!r} is not a port; write a number from 1 to 65535, or unset it")
    for other, port in taken.items():
        if port == int(value):
            raise InvalidInput(f"{setting}={value} is the port of {other} already; choose another")
    if not is_free(int(value)):
        raise PortTaken(name, int(value))
    return int(value)


def _next_free(candidates: list[int], used: set[int]) -> int:
    while candidates:
        port = candidates.pop(0)
        if port not in used and is_free(port):
            return port
    raise Unavailable(
        "ports", "no free port on 127.0.0.1 is left; widen MEDTOWER_PORT_RANGE or stop what holds them"
    )
