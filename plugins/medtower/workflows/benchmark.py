"""Benchmark one model on Triton against the contract's service levels, with generated rows: nobody's data, nothing on record."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np

from medtower.adapters.postgres import health, performance
from medtower.domain.contract import Contract
from medtower.domain.estimate import Estimate, Status
from medtower.domain.metric import METRICS
from medtower.evaluation import kpi
from medtower.serving import golden
from medtower.statistics.quantile import quantile_interval
from medtower.workflows.tower import Tower

REQUESTS = 500
CALLERS = 4


def benchmark(name: str, tower: Tower | None = None, *, requests: int = REQUESTS) -> dict[str, object]:
    """Measure latency p95 and p99 at one caller and throughput at four; judge and keep them. Returns the figures by metric."""
    tower = tower or Tower()
    moment = datetime.now(UTC)
    with tower.model(name) as model:
        version = model.release.version
        if version is None:
            return {"model": name, "version": None}
        estimates = measure(tower, model.contract, version, requests)
        judged = [(e, _judge(model.contract, e)) for e in estimates]
    performance.save(
        tower.database,
        model=name,
        version=version,
        window_start=moment - timedelta(minutes=1),
        window_end=moment,
        as_of=moment,
        estimates=judged,
        coverage=None,
    )
    health.record(tower.database, "benchmark", moment, model=name)
    return {
        "model": name,
        "version": version,
        **{e.metric: e.value for e in estimates},
        "status": [s.value for _, s in judged],
    }


def _judge(contract: Contract, estimate: Estimate) -> Status:
    promised = contract.service_levels.get(estimate.metric)
    if promised is None:
        return Status.OK if estimate.known else Status.INSUFFICIENT
    return kpi.status(estimate, promised, METRICS[estimate.metric])


def measure(tower: Tower, contract: Contract, version: int, requests: int) -> list[Estimate]:
    """Latency p95 and p99 in ms [one caller] and throughput in requests/s [four callers], each with an interval and n."""
    rows = golden.rows(contract, 16)

    def once(index: int) -> float:
        started = time.perf_counter()
        tower.triton.infer(contract.name, version, [rows[index % len(rows)]])
        return (time.perf_counter() - started) * 1000

    latencies = np.array([once(i) for i in range(requests)])
    seconds = []
    with ThreadPoolExecutor(CALLERS) as callers:
        for _ in range(10):
            started = time.perf_counter()
            list(callers.map(once, range(requests // 10)))
            seconds.append(time.perf_counter() - started)
    return [
        *(_quantile(f"latency_p{round(q * 100)}", latencies, q) for q in (0.95, 0.99)),
        _throughput(np.array([(requests // 10) / s for s in seconds]), requests),
    ]


def _quantile(metric: str, latencies: np.ndarray, q: float) -> Estimate:
    value, lower, upper = quantile_interval(latencies, q) or (None, None, None)
    return Estimate(
        metric=metric, n=len(latencies), value=value, lower=lower, upper=upper, method="order statistics"
    )


def _throughput(rates: np.ndarray, requests: int) -> Estimate:
    value, lower, upper = quantile_interval(rates, 0.5) or (None, None, None)
    return Estimate(
        metric="throughput", n=requests, value=value, lower=lower, upper=upper, method="median of 10 rounds"
    )
