"""A quantile with a distribution-free interval from order statistics (David & Nagaraja, Order Statistics, 3rd ed., section 7.1)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_DEVIATIONS = 12  # beyond that many standard deviations a binomial holds less than any tail that is asked for


def quantile_interval(
    values: NDArray[np.float64], q: float, confidence: float = 0.95
) -> tuple[float, float, float] | None:
    """Return (quantile, lower, upper) of `values` [n] at `q` in (0, 1), or None when n is too small for a two-sided interval.

    The bounds are the order statistics whose ranks hold the binomial probability `confidence`; no shape is assumed.
    """
    ranks = interval_ranks(len(values), q, confidence)
    if ranks is None:
        return None
    ordered = np.sort(values)
    return float(np.quantile(ordered, q)), float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1])


def interval_ranks(n: int, q: float, confidence: float = 0.95) -> tuple[int, int] | None:
    """The ranks, from 1 to n, of the order statistics that bound the quantile `q` of n values; None when n is too small. For values that stay
    where they are, such as in a database."""
    if n == 0:
        return None
    tail = (1 - confidence) / 2
    low, high = _binomial_quantile(tail, n, q), _binomial_quantile(1 - tail, n, q) + 1
    return None if low < 1 or high > n else (low, high)


def _binomial_quantile(probability: float, n: int, q: float) -> int:
    """The least k with P(X ≤ k) ≥ `probability`, X binomial (n, q): the probabilities by their ratios, from the first that matters."""
    reach = _DEVIATIONS * math.sqrt(n * q * (1 - q)) + _DEVIATIONS
    first, last = max(0, int(n * q - reach)), min(n, int(n * q + reach) + 1)
    k = np.arange(first + 1, last + 1, dtype=np.float64)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - k + 1) / k * q / (1 - q)))])
    mass = np.cumsum(np.exp(logs - logs.max()))
    return first + int(np.searchsorted(mass / mass[-1], probability))
