"""What one run of a load client measured, and how several runs become one row of the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

PREFIX = "measured "


@dataclass(frozen=True)
class Load:
    """Requests per second, latency in milliseconds, and how many requests had no 2xx answer (`errors`)."""

    requests: int
    errors: int
    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def parse(output: str) -> Load:
    """The measurement in the output of a load client: its line `measured {…}`, with requests, errors, seconds, and p50, p95, p99 in
    microseconds. Raises ValueError when there is none."""
    for line in output.splitlines():
        if line.startswith(PREFIX):
            said = json.loads(line.removeprefix(PREFIX))
            p50, p95, p99 = (said[name] / 1000 for name in ("p50", "p95", "p99"))
            return Load(said["requests"], said["errors"], said["requests"] / said["seconds"], p50, p95, p99)
    raise ValueError("the load client measured nothing")


def measured(
    alone: Sequence[Load], crowd: Sequence[Load], rss_mb: Sequence[float], version: str
) -> dict[str, float | str]:
    """One server's entry in gateway.json: the median over the rounds of each number."""
    return {
        "rps_c16": round(statistics.median(load.rps for load in crowd), 1),
        "p50_c1_ms": round(statistics.median(load.p50_ms for load in alone), 3),
        "p95_c1_ms": round(statistics.median(load.p95_ms for load in alone), 3),
        "p99_c1_ms": round(statistics.median(load.p99_ms for load in alone), 3),
        "rss_mb": round(statistics.median(rss_mb), 1),
        "version": version,
    }
