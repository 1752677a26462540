"""A quantile with a distribution-free interval from order statistics (David & Nagaraja, Order Statistics, 3rd ed., section 7.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def quantile_interval(
    values: NDArray[np.float64], q: float, confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Return (quantile, lower, upper) of `values` [n] at `q` in (0, 1), or None when n is too small for a two-sided interval.

    The bounds are the order statistics whose ranks hold the binomial probability `confidence`; no shape is assumed.
    """
    from scipy.stats import binom

    n, tail = len(values), (1 - confidence) / 2
    if n == 0:
        return None
    low = int(binom.ppf(tail, n, q))
    high = int(binom.ppf(1 - tail, n, q)) + 1
    if low < 1 or high > n:
        return None
    ordered = np.sort(values)
    return float(np.quantile(ordered, q)), float(ordered[low - 1]), float(ordered[high - 1])
