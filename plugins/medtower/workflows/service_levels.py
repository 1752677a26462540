"""Measuring what a contract calls service levels, on Triton itself with generated rows: nobody's data, nothing on record."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from medtower.adapters import metrics_page
from medtower.domain.contract import Contract
from medtower.domain.estimate import Estimate
from medtower.errors import MedtowerError, Unavailable
from medtower.evaluation.latency import latency
from medtower.serving import golden
from medtower.statistics.intervals import wilson
from medtower.statistics.quantile import quantile_interval
from medtower.workflows.tower import Tower

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALLERS = 4
ROUNDS = 10


def measure(tower: Tower, contract: Contract, version: int, requests: int) -> list[Estimate]:
    """Latency p95 and p99 [ms, one caller], throughput [requests/s, four callers], error rate and load time [s], each with its n.

    Twice `requests` are sent. A failed request counts in the error rate and in no latency. Raises Unavailable when the version is not there
    to begin with: that is an outage, not a figure.
    """
    if not tower.triton.ready(contract.name, version):
        raise Unavailable("Triton", f"it does not serve {contract.name} {version}; nothing was measured")
    rows = golden.rows(contract, 16)

    def once(index: int) -> float:
        started = time.perf_counter()
        try:
            tower.triton.infer(contract.name, version, [rows[index % len(rows)]])
        except MedtowerError:
            return math.nan
        return (time.perf_counter() - started) * 1000

    alone = np.array([once(i) for i in range(requests)])
    rates, together = [], []
    with ThreadPoolExecutor(CALLERS) as callers:
        for _ in range(ROUNDS):
            started = time.perf_counter()
            together += list(callers.map(once, range(requests // ROUNDS)))
            rates.append(requests // ROUNDS / (time.perf_counter() - started))
    answered = alone[~np.isnan(alone)]
    failed = int(np.isnan(alone).sum() + np.isnan(together).sum())
    return [
        *latency(answered),
        _throughput(np.array(rates), len(together)),
        _error_rate(failed, len(alone) + len(together)),
        _model_load(tower, contract.name, version),
    ]


def _throughput(rates: NDArray[np.float64], n: int) -> Estimate:
    """From the rates of the rounds; `n` is the number of requests in all of them."""
    value, lower, upper = quantile_interval(rates, 0.5) or (None, None, None)
    return Estimate(
        metric="throughput",
        n=n,
        value=value,
        lower=lower,
        upper=upper,
        method=f"median of {ROUNDS} rounds, order statistics",
    )


def _error_rate(failed: int, n: int) -> Estimate:
    found = wilson(failed, n)
    return Estimate(
        metric="error_rate", n=n, value=found.value, lower=found.lower, upper=found.upper, method=found.method
    )


def _model_load(tower: Tower, name: str, version: int) -> Estimate:
    """What the reconciler's last load of this version took: one number, and one number has no interval."""
    page = f"http://127.0.0.1:{tower.settings.reconciler_port}/metrics"
    seconds = metrics_page.value(page, "medtower_model_load_seconds", model=name, version=str(version))
    return Estimate(
        metric="model_load",
        n=int(seconds is not None),
        value=seconds,
        lower=None,
        upper=None,
        method="the last load",
    )
