"""A confidence sequence for the mean of values in [0, 1] that gets narrower when they vary little."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medtower.errors import InvalidInput

Floats = NDArray[np.float64]

_STAKES = 0.5 ** np.arange(1, 13)  # each is the best one for some n; from about 10 to about 10 million values
_COST = -np.log1p(-_STAKES) - _STAKES
_NEWTON = 12


def bounded_mean(values: Floats, alpha: float, *, centre: float | None = None) -> tuple[float, float]:
    """The bounds of the mean of `values` [n] in [0, 1], each one-sided at level `alpha`; (0, 1) without data. O(n).

    The empirical Bernstein process exp(λ Σ(x - μ) - ψ(λ) Σ(x - c)²), ψ(λ) = -log(1 - λ) - λ, is a supermartingale for every c that is known
    before its x (Howard et al. 2021, Annals of Statistics 49:1055, doi:10.1214/20-AOS1991, theorem 4; Waudby-Smith & Ramdas 2024, JRSS B 86:1,
    doi:10.1093/jrsssb/qkad009, section 3.2), and so is its mean over fixed stakes λ (method of mixtures). Without `centre`, c is the mean of
    the values before, which gives the variance, and `values` are in the order in which they came. With a fixed `centre` the order does not
    matter: for outcomes, which come late and in any order.
    Raises InvalidInput for a level outside (0, 1), or a value outside [0, 1].
    """
    if not 0 < alpha < 1:
        raise InvalidInput(f"a level of {alpha:g} is impossible; write a number between 0 and 1")
    n = len(values)
    if n == 0:
        return 0.0, 1.0
    if not (values.min() >= 0 and values.max() <= 1):
        raise InvalidInput("a value lies outside [0, 1]; scale the values by their range first")
    spread = float(np.sum((values - (_means_before(values) if centre is None else centre)) ** 2))
    total = float(values.sum())
    return _lower(total, spread, n, alpha), 1 - _lower(n - total, spread, n, alpha)


def _means_before(values: Floats) -> Floats:
    """The mean of what came before each value, counting one value of a half."""
    sums = np.concatenate([[0.5], values[:-1]]).cumsum()
    means: Floats = sums / np.arange(1, len(values) + 1)
    return means


def _lower(total: float, spread: float, n: int, alpha: float) -> float:
    """The least mean that is not excluded: the root of a convex falling function, by Newton from its left, which never passes it."""
    needed = np.log(len(_STAKES) / alpha)
    mean = float(np.max((total - (needed + _COST * spread) / _STAKES) / n))
    for _ in range(_NEWTON):
        logs = _STAKES * (total - n * mean) - _COST * spread
        top = logs.max()
        weights = np.exp(logs - top)
        excess = top + np.log(weights.sum()) - needed
        slope = n * float(weights @ _STAKES) / float(weights.sum())
        mean += max(0.0, float(excess)) / slope
    return min(max(mean, 0.0), 1.0)
