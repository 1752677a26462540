"""How long answers take, as estimates: the one way in which a benchmark and the record of real requests are measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtower.domain.estimate import Estimate
from medtower.statistics.quantile import quantile_interval

QUANTILES = {"latency_p95": 0.95, "latency_p99": 0.99}


def latency(milliseconds: ArrayLike) -> list[Estimate]:
    """The p95 and p99 of `milliseconds` [n] with distribution-free intervals; without a value where n is too small for one."""
    values = np.asarray(milliseconds, dtype=np.float64)
    return [_quantile(metric, values, q) for metric, q in QUANTILES.items()]


def _quantile(metric: str, values: NDArray[np.float64], q: float) -> Estimate:
    value, lower, upper = quantile_interval(values, q) or (None, None, None)
    return Estimate(
        metric=metric, n=len(values), value=value, lower=lower, upper=upper, method="order statistics"
    )
