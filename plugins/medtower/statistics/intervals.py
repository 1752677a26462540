"""Two-sided confidence intervals: proportions and their difference, the area under the ROC curve, and anything else by bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtower.errors import InvalidInput

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_NORMAL = NormalDist()
_CELLS = 2**22  # of one matrix of weights: 32 MB, so that a large sample costs time and not memory
_GROUPS = (
    400  # of the jackknife: beyond that the acceleration gains nothing and the cost grows with n squared
)


@dataclass(frozen=True)
class Interval:
    """A `value` and the bounds of its two-sided interval at `confidence`; `method` names how it was made."""

    value: float
    lower: float
    upper: float
    confidence: float
    method: str


def quantile(confidence: float) -> float:
    """The normal quantile z of a two-sided interval, 1.96 for 0.95. Raises InvalidInput outside (0, 1)."""
    if not 0 < confidence < 1:
        raise InvalidInput(f"confidence {confidence:g} is impossible; write a number between 0 and 1")
    return _NORMAL.inv_cdf((1 + confidence) / 2)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of a proportion (Wilson 1927, JASA 22:209–212). Raises InvalidInput unless 0 ≤ successes ≤ n and n ≥ 1."""
    if n < 1 or not 0 <= successes <= n:
        raise InvalidInput(
            f"{successes} of {n} is not a proportion; n must be at least 1 and hold the successes"
        )
    z = quantile(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at 0 and at n the bound is exactly 0 or 1; rounding must not put it on the other side of the value
    lower, upper = min(max(0.0, centre - half), share), max(min(1.0, centre + half), share)
    return Interval(share, lower, upper, confidence, "Wilson")


def newcombe(
    successes: int, n: int, other_successes: int, other_n: int, confidence: float = 0.95
) -> Interval:
    """The hybrid score interval of the first proportion minus the other, independent one (Newcombe 1998, Stat Med 17:873–890, method 10)."""
    a, b = wilson(successes, n, confidence), wilson(other_successes, other_n, confidence)
    difference = a.value - b.value
    lower = difference - math.hypot(a.value - a.lower, b.upper - b.value)
    upper = difference + math.hypot(a.upper - a.value, b.value - b.lower)
    return Interval(difference, lower, upper, confidence, "Newcombe")


def midranks(values: Floats) -> Floats:
    """Ranks [n] from 1; tied values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    highest = np.cumsum(counts)
    ranks: Floats = (highest - (counts - 1) / 2)[place]
    return ranks


def delong_auc(y: ArrayLike, score: ArrayLike, confidence: float = 0.95) -> Interval:
    """The area under the ROC curve with its interval.

    `y` [n] is 0 or 1, `score` [n] any finite number. Variance: DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837–845) by the midranks of
    Sun & Xu 2014 (IEEE SPL 21:1389–1393), on the logit scale, so that the bounds stay inside (0, 1). At an area of exactly 0 or 1 that
    variance is 0, which is not knowledge: there the score interval of Newcombe 2006 (Stat Med 25:559–573, method 5) takes its place.
    Raises InvalidInput with fewer than two of either class.
    """
    truth, scores = np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64)
    positive, negative = scores[truth == 1], scores[truth == 0]
    m, n = len(positive), len(negative)
    if min(m, n) < 2:
        raise InvalidInput(
            f"AUC needs at least two of each class, and there are {m} positive and {n} negative"
        )
    together = midranks(np.concatenate([positive, negative]))
    over = (together[:m] - midranks(positive)) / n
    under = 1 - (together[m:] - midranks(negative)) / m
    area = min(max(float(over.mean()), 0.0), 1.0)
    if area in (0.0, 1.0):
        return _boundary(area, m, n, confidence)
    error = math.sqrt(over.var(ddof=1) / m + under.var(ddof=1) / n)
    half = quantile(confidence) * error / (area * (1 - area))
    logit = math.log(area / (1 - area))
    lower, upper = 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit))
    return Interval(area, min(lower, area), max(upper, area), confidence, "DeLong, logit")


def _boundary(area: float, m: int, n: int, confidence: float) -> Interval:
    """The areas θ below a perfect one for which (1 - θ)² ≤ z² V(θ), by bisection; mirrored for an area of 0."""
    z, typical = quantile(confidence), (m + n) / 2 - 1
    low, high = 0.0, 1.0
    for _ in range(60):
        theta = (low + high) / 2
        spread = 1 + typical * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        beyond = (1 - theta) ** 2 > z * z * theta * (1 - theta) * spread / (m * n)
        low, high = (theta, high) if beyond else (low, theta)
    lower, upper = (low, 1.0) if area == 1.0 else (0.0, 1 - low)
    return Interval(area, lower, upper, confidence, "Newcombe 2006")


def bootstrap(
    statistic: Callable[[Floats], Floats],
    n: int,
    *,
    seed: int,
    strata: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """The bias-corrected and accelerated bootstrap interval (BCa: Efron 1987, JASA 82:171–185) of a statistic of n rows.

    `statistic` takes weights [b, n] (how often each row was drawn) and returns [b]; a statistic that is undefined on a resample is NaN there
    and that resample does not count. Rows are drawn within each value of `strata` [n], whose sizes so stay fixed; the acceleration is
    the one for several samples (Davison & Hinkley 1997, section 5.3) by a jackknife of groups.
    Raises InvalidInput when the statistic is undefined on the sample or on most resamples.
    """
    value = float(statistic(np.ones((1, n)))[0])
    groups = _strata(n, strata)
    draws = _draws(statistic, n, groups, np.random.default_rng(seed), resamples)
    draws = draws[np.isfinite(draws)]
    if not math.isfinite(value) or 2 * len(draws) < resamples:
        raise InvalidInput(f"the statistic is undefined on this sample of {n}; more rows are needed")
    # a share of 0 or 1 would be an infinite correction; beyond ±2.3 the bootstrap says nothing any more
    below = min(max(float(np.mean(draws < value) + np.mean(draws == value) / 2), 0.01), 0.99)
    bias, acceleration = _NORMAL.inv_cdf(below), _acceleration(statistic, n, groups)
    ends = [bias + z for z in (-quantile(confidence), quantile(confidence))]
    shares = [_NORMAL.cdf(bias + end / (1 - acceleration * end)) for end in ends]
    lower, upper = np.quantile(draws, shares)
    return Interval(value, float(lower), float(upper), confidence, f"bootstrap BCa, {resamples}")


def _strata(n: int, strata: ArrayLike | None) -> list[Rows]:
    if strata is None:
        return [np.arange(n)]
    labels = np.asarray(strata)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _draws(
    statistic: Callable[[Floats], Floats],
    n: int,
    groups: list[Rows],
    rng: np.random.Generator,
    resamples: int,
) -> Floats:
    step = max(1, _CELLS // n)
    parts = []
    for start in range(0, resamples, step):
        b = min(step, resamples - start)
        picks = [rows[rng.integers(0, len(rows), (b, len(rows)))] for rows in groups]
        cells = np.concatenate(picks, axis=1) + n * np.arange(b)[:, None]
        weights = np.bincount(cells.ravel(), minlength=b * n).reshape(b, n).astype(np.float64)
        parts.append(statistic(weights))
    return np.concatenate(parts)


def _acceleration(statistic: Callable[[Floats], Floats], n: int, groups: list[Rows]) -> float:
    cubes = squares = 0.0
    for rows in groups:
        parts = np.array_split(rows, min(len(rows), _GROUPS))
        left_out = np.array([float(statistic(_without(n, part))[0]) for part in parts])
        influence = (len(parts) - 1) * (left_out.mean() - left_out)
        cubes += float(np.sum(influence**3)) / len(parts) ** 3
        squares += float(np.sum(influence**2)) / len(parts) ** 2
    if not math.isfinite(cubes) or squares <= 0:
        return 0.0
    return cubes / (6 * math.sqrt(squares) ** 3)


def _without(n: int, rows: Rows) -> Floats:
    weights = np.ones((1, n))
    weights[0, rows] = 0
    return weights
