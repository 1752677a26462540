"""Marginal distributions of synthetic inputs, cut to the range that the contract allows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtower.domain.cohort import Distribution
from medtower.domain.contract import Input

Floats = NDArray[np.float64]
GRID = 2001


def quantiles(spec: Input, distribution: Distribution, u: Floats) -> Floats:
    """The values [n] at the probabilities `u` [n] in (0, 1), in the input's unit; a category is its index, a boolean 0 or 1.

    A number follows the family truncated to the contract's range, by inversion: F⁻¹(F(low) + u·(F(high) − F(low))).
    """
    if distribution.family == "bernoulli":
        return (u > 1 - distribution.parameters[0]).astype(np.float64)
    if distribution.family == "category":
        steps = np.cumsum(distribution.parameters)[:-1]
        return np.searchsorted(steps, u, side="right").astype(np.float64)
    low, high = spec.range or (-np.inf, np.inf)
    law = _law(distribution, low, high)
    start = law.cdf(low - 1 if distribution.family == "poisson" else low)
    values = law.ppf(start + u * (law.cdf(high) - start))
    return measurable(spec, np.asarray(values, dtype=np.float64))


def measurable(spec: Input, values: Floats) -> Floats:
    """`values` as an instrument would report them: whole numbers where the contract says so, four decimals else, at most its range."""
    low, high = spec.range or (-np.inf, np.inf)
    rounded = np.rint(values) if spec.dtype == "integer" else np.round(values, 4)
    bounded: Floats = np.clip(rounded, low, high)
    return bounded


def moments(spec: Input, distribution: Distribution) -> tuple[float, float]:
    """Mean and standard deviation of the marginal (on a grid of quantiles), so that z-scores do not depend on who was drawn."""
    values = quantiles(spec, distribution, (np.arange(GRID) + 0.5) / GRID)
    return float(values.mean()), float(values.std()) or 1.0


def _law(distribution: Distribution, low: float, high: float) -> Any:
    from scipy import stats

    p = distribution.parameters
    if distribution.family == "normal":
        return stats.norm(p[0], p[1])
    if distribution.family == "lognormal":
        return stats.lognorm(s=p[1], scale=np.exp(p[0]))
    if distribution.family == "beta":
        return stats.beta(p[0], p[1], loc=low, scale=high - low)
    if distribution.family == "uniform":
        return stats.uniform(p[0], p[1] - p[0])
    return stats.poisson(p[0])
