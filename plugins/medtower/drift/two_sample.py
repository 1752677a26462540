"""Two-sample tests, batched over columns. Windows are arrays [n, columns] with NaN for missing; what cannot be tested is NaN here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
LEAST_EXPECTED = 5.0


class Result(NamedTuple):
    """Statistic and p-value of each column, both [columns]."""

    statistic: Floats
    p_value: Floats


def kolmogorov_smirnov(reference: Floats, current: Floats) -> Result:
    """Two-sided two-sample Kolmogorov–Smirnov test of each column, on the values that are there.

    The p-value is Kolmogorov's limit with the small-sample correction of Stephens (1970, JRSS B 32:115–122); ties make it conservative.
    NaN where a column has no value in a window or the same single value in both.
    """
    n, m = present(reference), present(current)
    pooled = np.concatenate([reference, current])
    order = np.argsort(pooled, axis=0, kind="stable")  # NaN come last
    ordered = np.take_along_axis(pooled, order, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(order < len(reference), 1 / n, -1 / m)
        gap = np.abs(np.cumsum(np.where(np.isnan(ordered), 0.0, step), axis=0))
        ends_tie = np.ones(ordered.shape, dtype=np.bool_)
        ends_tie[:-1] = ordered[:-1] != ordered[1:]
        effective = np.sqrt(n * m / (n + m))
        statistic = np.where(ends_tie, gap, 0.0).max(axis=0, initial=0.0)
        p = special.kolmogorov((effective + 0.12 + 0.11 / effective) * statistic)
    return _where((n > 0) & (m > 0) & varies(pooled), statistic, p)


def chi_square(reference: Floats, current: Floats) -> Result:
    """Pearson's test of homogeneity of counts [levels] in each window; arrays [1]. NaN where fewer than two levels occur.

    Levels expected fewer than LEAST_EXPECTED times in a window are pooled, rarest first, until the pool reaches it (Cochran 1954,
    Biometrics 10:417–451).
    """
    table = _pool_rare(np.stack([reference, current]))
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return Result(np.array([np.nan]), np.array([np.nan]))
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum()
    return Result(np.array([statistic]), np.array([special.chdtrc(table.shape[1] - 1, statistic)]))


def _pool_rare(table: Floats) -> Floats:
    table = table[:, table.sum(axis=0) > 0]
    table = table[:, np.argsort(table.sum(axis=0), kind="stable")]
    expected = table.sum(axis=0) * (table.sum(axis=1).min() / max(table.sum(), 1.0))
    rare = int((expected < LEAST_EXPECTED).sum())
    reached = int((np.cumsum(expected) < LEAST_EXPECTED).sum()) + 1
    pooled = max(rare, reached)
    return np.column_stack([table[:, :pooled].sum(axis=1), table[:, pooled:]])


def missing_rate(reference: Floats, current: Floats) -> Result:
    """Pooled two-proportion z test, two-sided, of the share of missing values in each column. NaN where none or all are missing."""
    n, m = len(reference), len(current)
    gaps, late = np.isnan(reference).sum(axis=0), np.isnan(current).sum(axis=0)
    share = (gaps + late) / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (late / m - gaps / n) / np.sqrt(share * (1 - share) * (1 / n + 1 / m))
        p = special.erfc(np.abs(z) / np.sqrt(2))
    return _where((share > 0) & (share < 1), z, p)


def varies(x: Floats) -> NDArray[np.bool_]:
    """Return [columns]: True where at least two different values are there."""
    highest = np.where(np.isnan(x), -np.inf, x).max(axis=0, initial=-np.inf)
    lowest = np.where(np.isnan(x), np.inf, x).min(axis=0, initial=np.inf)
    answer: NDArray[np.bool_] = highest > lowest
    return answer


def present(x: Floats) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = (~np.isnan(x)).sum(axis=0, dtype=np.int64)
    return counts


def _where(testable: NDArray[np.bool_], statistic: Floats, p: Floats) -> Result:
    return Result(np.where(testable, statistic, np.nan), np.where(testable, np.clip(p, 0.0, 1.0), np.nan))
