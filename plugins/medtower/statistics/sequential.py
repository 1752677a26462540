"""Confidence sequences: bounds that hold at every look together, however often one looks and whenever one stops.

A confidence sequence at level α misses the truth at any time whatsoever with probability α at most. Everything here is exact at every n (no
normal approximation). All of it supposes observations that are independent and of one distribution, so one value a patient:

- proportions: the beta-binomial mixture (Robbins 1970, doi:10.1214/aoms/1177696786; Howard, Ramdas, McAuliffe & Sekhon 2021, Annals of
  Statistics 49:1055, doi:10.1214/20-AOS1991, section 3.2, conjugate mixtures). It needs the counts alone, so their order does not matter;
- a quantile: the same mixture about the known proportion q of values at most the quantile (Howard & Ramdas 2022, Bernoulli 28:1704,
  doi:10.3150/21-BEJ1388, section 3), inverted in ranks;
- a share that was assigned by chance (sample ratio): the same mixture as a test (Lindon & Malek 2022, NeurIPS, doi:10.48550/arXiv.2011.03567);
- means of what lies in [0, 1]: `bounded_mean` in `sequential_mean.py`.

Differences between two arms take each arm's sequence at half the level. A joint test of both is no tighter when one arm has 5 % of the
patients, and the union also holds where both arms score the same requests, as a shadow does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtower.errors import InvalidInput

Floats = NDArray[np.float64]
_NEWTON = 100
_WEIGHT = 50.0  # observations: the mixture is tightest from a few hundred to a few thousand, where a rollout decides


@dataclass(frozen=True)
class Mixture:
    """A beta distribution over the proportion that the mixture bets on. Any is valid; the bounds are tightest near where its weight lies."""

    a: float = 0.5
    b: float = 0.5

    @classmethod
    def around(cls, mean: float) -> Self:
        """Weight near `mean`, a proportion strictly between 0 and 1."""
        return cls(_WEIGHT * mean, _WEIGHT * (1 - mean))

    def log_ratio(self, successes: float, n: float) -> float:
        """log B(a + successes, b + failures) - log B(a, b)."""
        return _log_beta(self.a + successes, self.b + n - successes) - _log_beta(self.a, self.b)


JEFFREYS = Mixture()


def log_evidence(successes: ArrayLike, n: ArrayLike, p: float, mixture: Mixture = JEFFREYS) -> Floats:
    """The logarithm of the evidence against the proportion `p` after `successes` of `n`, arrays of one shape.

    Its exponential is a martingale that starts at 1 when `p` is the truth: it ever reaches 1/α with probability α at most (Ville 1939).
    Raises InvalidInput unless 0 < p < 1.
    """
    from scipy.special import betaln

    if not 0 < p < 1:
        raise InvalidInput(f"evidence against a proportion of {p:g} needs it to be strictly between 0 and 1")
    s, total = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    ratio = betaln(mixture.a + s, mixture.b + total - s) - betaln(mixture.a, mixture.b)
    found: Floats = ratio - s * math.log(p) - (total - s) * math.log1p(-p)
    return found


def proportion(successes: float, n: float, alpha: float, mixture: Mixture = JEFFREYS) -> tuple[float, float]:
    """The bounds of a proportion after `successes` of `n` at level `alpha`; (0, 1) without data. O(1).

    Also holds for the mean of values in [0, 1] with sum `successes`: their likelihood ratio is a supermartingale, as a power is convex.
    Raises InvalidInput unless 0 ≤ successes ≤ n and 0 < alpha < 1.
    """
    _check(alpha)
    if not 0 <= successes <= n:
        raise InvalidInput(f"{successes:g} of {n:g} is not a proportion; n must hold the successes")
    if n == 0:
        return 0.0, 1.0
    misses = n - successes
    most = -math.log(alpha) - mixture.log_ratio(successes, n)
    return _lower(successes, misses, most), 1 - _lower(misses, successes, most)


def quantile_ranks(n: int, q: float, alpha: float) -> tuple[int, int]:
    """Which order statistics (from 1) bound the `q` quantile of `n` values at level `alpha`; rank 0 and rank n + 1 are no bound.

    For the true quantile, the number of values at most it is binomial(n, q) or, with ties, on either side of such a count; the ranks hold
    every count that the mixture does not exclude. O(log n). Raises InvalidInput unless 0 < q < 1 and 0 < alpha < 1.
    """
    _check(alpha)
    if not 0 < q < 1:
        raise InvalidInput(f"a quantile at {q:g} is impossible; write a number between 0 and 1")
    mixture, most = Mixture.around(q), -math.log(alpha)
    log_q, log_rest = math.log(q), math.log1p(-q)

    def excluded(count: int) -> bool:
        return mixture.log_ratio(count, n) - count * log_q - (n - count) * log_rest >= most

    middle = min(n, round(n * q))
    low = 0 if not excluded(0) else _last(excluded, 0, middle) + 1
    high = n if not excluded(n) else _last(excluded, n, middle) - 1
    return low, high + 1


def quantile(values: Floats, q: float, alpha: float) -> tuple[float, float]:
    """The bounds of the `q` quantile of `values` [n] at level `alpha`, in their unit; infinite where n is too small for a bound. O(n log n)."""
    low, high = quantile_ranks(len(values), q, alpha)
    ordered = np.sort(values)
    lower = float(ordered[low - 1]) if low >= 1 else -math.inf
    upper = float(ordered[high - 1]) if high <= len(values) else math.inf
    return lower, upper


def _lower(successes: float, misses: float, most: float) -> float:
    """The least p with -successes·log p - misses·log(1 - p) ≤ most. Convex in log p, so Newton from the left never passes the root: a
    bound cut short is too wide, never too tight."""
    if not successes:
        return 0.0
    log_p = -most / successes  # there the first term alone is `most`
    for _ in range(_NEWTON):
        p = math.exp(log_p)
        excess = -successes * log_p - misses * math.log1p(-p) - most
        step = excess / (successes - misses * p / (1 - p))
        log_p += max(0.0, step)
        if step < 1e-12:
            break
    return math.exp(log_p)


def _last(excluded: Callable[[int], bool], outside: int, inside: int) -> int:
    """The excluded count next to the accepted ones: the evidence is convex in the count, so what is accepted is one piece."""
    while abs(inside - outside) > 1:
        middle = (outside + inside) // 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _check(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InvalidInput(f"a level of {alpha:g} is impossible; write a number between 0 and 1")


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
