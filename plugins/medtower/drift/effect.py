"""How much a distribution moved: the population stability index (PSI), Σ (q − p) ln(q / p) over bins (Siddiqi 2006, Credit Risk Scorecards)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 10
SMOOTHING = 0.5  # added to every count (Jeffreys), so that an empty bin gives a large number and not infinity


def psi(reference: Floats, current: Floats) -> float:
    """Return the PSI of two arrays of counts over the same bins; bins that are empty in both windows do not count."""
    used = (reference + current) > 0
    p, q = reference[used] + SMOOTHING, current[used] + SMOOTHING
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def bin_counts(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Return the counts of two columns of numbers [n], [m] in BINS quantile bins of the reference, and one more bin for missing.

    A value that holds more than a bin's share gets a bin of its own. Without a value in the reference, all values share one bin.
    """
    edges = _edges(reference[~np.isnan(reference)])
    return _binned(reference, edges), _binned(current, edges)


def level_counts(column: Floats, levels: int) -> Floats:
    """Return counts [levels + 2] of a column [n] of level indices: each level, any other value, missing."""
    present = column[~np.isnan(column)]
    known = (present >= 0) & (present < levels) & (present == np.floor(present))
    counts = np.bincount(np.where(known, present, levels).astype(np.int64), minlength=levels + 1)
    return np.append(counts, len(column) - len(present)).astype(np.float64)


def _edges(present: Floats) -> Floats:
    if not len(present):
        return np.array([])
    places = np.arange(1, BINS) * len(present) // BINS
    quantiles = np.partition(present, places)[
        places
    ]  # order statistics: nothing is interpolated, so infinity is harmless
    values, times = np.unique(quantiles, return_counts=True)
    heavy = values[(times > 1) | (len(values) == 1)]
    return np.union1d(values, np.nextafter(heavy, np.inf))


def _binned(column: Floats, edges: Floats) -> Floats:
    present = column[~np.isnan(column)]
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return np.append(counts, len(column) - len(present)).astype(np.float64)
