"""Quantiles with a distribution-free interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from medtower.statistics.quantile import quantile_interval


def test_the_bounds_are_the_order_statistics_of_the_binomial() -> None:
    # n = 100, q = 0.5: ranks 40 and 61 hold 96.48 % (David & Nagaraja 7.1, the same as R's quantileCI::exact)
    assert quantile_interval(np.arange(1.0, 101.0), 0.5) == (50.5, 40.0, 61.0)
    assert binom.cdf(60, 100, 0.5) - binom.cdf(39, 100, 0.5) == pytest.approx(0.9648, abs=1e-4)


def test_the_order_of_the_values_does_not_matter() -> None:
    values = np.random.default_rng(1).permutation(np.arange(1.0, 101.0))
    assert quantile_interval(values, 0.5) == (50.5, 40.0, 61.0)


def test_the_bounds_hold_at_least_the_confidence_asked_for() -> None:
    for n in (60, 200, 500, 1000):
        values = np.arange(1.0, n + 1)
        for q in (0.5, 0.9, 0.95):
            for confidence in (0.8, 0.95):
                found = quantile_interval(values, q, confidence)
                if found is None:
                    continue
                low, high = int(found[1]), int(found[2])
                assert binom.cdf(high - 1, n, q) - binom.cdf(low - 1, n, q) >= confidence


def test_more_confidence_never_narrows_the_interval() -> None:
    values = np.sort(np.random.default_rng(2).lognormal(3, 1, 800))
    widths = [u - lo for c in (0.5, 0.8, 0.95, 0.99) for _, lo, u in [quantile_interval(values, 0.9, c)]]
    assert widths == sorted(widths)


@pytest.mark.parametrize(("n", "q"), [(0, 0.5), (1, 0.5), (5, 0.5), (50, 0.95), (100, 0.99), (300, 0.99)])
def test_too_few_values_give_no_interval_instead_of_a_wrong_one(n: int, q: float) -> None:
    assert quantile_interval(np.arange(float(n)), q) is None


@pytest.mark.parametrize(("n", "q"), [(6, 0.5), (73, 0.95), (400, 0.99)])
def test_enough_values_give_one(n: int, q: float) -> None:
    found = quantile_interval(np.arange(float(n)), q)
    assert found is not None
    value, lower, upper = found
    assert lower <= value <= upper


def test_equal_values_give_a_point() -> None:
    assert quantile_interval(np.full(100, 7.0), 0.5) == (7.0, 7.0, 7.0)


def test_the_simulated_coverage_is_at_least_the_nominal_one() -> None:
    random, repeats, n, q = np.random.default_rng(20260101), 2000, 200, 0.95
    truth = np.exp(0.5 * 1.6448536269514722)  # the 95 % quantile of lognormal(0, 0.5)
    hits = sum(
        lower <= truth <= upper
        for _ in range(repeats)
        for _, lower, upper in [quantile_interval(random.lognormal(0, 0.5, n), q)]
    )
    low, high = int(binom.ppf(0.025, n, q)), int(binom.ppf(0.975, n, q)) + 1
    expected = binom.cdf(high - 1, n, q) - binom.cdf(low - 1, n, q)
    assert expected >= 0.95
    # a correct interval falls outside these bounds once in 10,000 runs
    least, most = binom.ppf([5e-5, 1 - 5e-5], repeats, expected)
    assert least <= hits <= most
