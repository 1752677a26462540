"""Many tests at once: adjusted p-values. A test that could not be run has p NaN; it stays NaN and does not count."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtower.errors import InvalidInput

Floats = NDArray[np.float64]


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """The q-values [k] of p-values [k]: rejecting q ≤ α keeps the false discovery rate at α (Benjamini & Hochberg 1995, JRSS B 57:289–300).

    Holds for independent and for positively dependent tests. Raises InvalidInput for a p-value outside [0, 1].
    """
    p, order = _ascending(p_values)
    k = len(order)
    stepped = p[order] * k / np.arange(1, k + 1)
    # a larger p-value never has the smaller q-value: the least of all that follow
    return _placed(p, order, np.minimum.accumulate(stepped[::-1])[::-1])


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values [k]: rejecting those ≤ α keeps the chance of any false rejection at α, under any dependence
    (Holm 1979, Scand J Stat 6:65–70). Raises InvalidInput for a p-value outside [0, 1]."""
    p, order = _ascending(p_values)
    k = len(order)
    return _placed(p, order, np.maximum.accumulate(p[order] * (k - np.arange(k))))


def _ascending(p_values: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    p = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(p))
    if np.any((p[known] < 0) | (p[known] > 1)):
        raise InvalidInput(
            "a p-value lies outside [0, 1]; pass probabilities, and NaN where a test could not be run"
        )
    return p, known[np.argsort(p[known], kind="stable")]


def _placed(p: Floats, order: NDArray[np.intp], adjusted: Floats) -> Floats:
    placed = np.full(len(p), np.nan)
    placed[order] = np.minimum(adjusted, 1.0)
    return placed
