"""Confidence sequences: exact on small cases, valid at every look by simulation, and in the right order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from medtower.errors import InvalidInput
from medtower.statistics.sequential import (
    JEFFREYS,
    Mixture,
    log_evidence,
    proportion,
    quantile,
    quantile_ranks,
)
from medtower.statistics.sequential_mean import bounded_mean

SEQUENCES, LENGTH, ALPHA = 400, 1000, 0.1
MIXTURES = [JEFFREYS, Mixture(1, 1), Mixture.around(0.01), Mixture.around(0.95)]
counts = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.floats(1e-6, 0.4)


def rarely(misses: int, alpha: float = ALPHA, n: int = SEQUENCES) -> bool:
    """Whether so many misses of n agree with a rate of at most alpha, at 99.9 %."""
    return misses <= stats.binom.ppf(0.999, n, alpha)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize(("successes", "n"), [(0, 7), (7, 7), (3, 20), (19, 20)])
def test_the_evidence_is_the_likelihood_ratio_averaged_over_the_mixture(successes, n, mixture):
    def likelihood(p: float) -> float:
        return p**successes * (1 - p) ** (n - successes)

    with np.errstate(all="ignore"):
        mixed = integrate.quad(
            lambda p: likelihood(p) * stats.beta.pdf(p, mixture.a, mixture.b),
            0,
            1,
            limit=500,
            epsabs=0,
            points=[0.01, 0.95],
        )[0]
    against = float(log_evidence(successes, n, 0.3, mixture))
    assert against == pytest.approx(math.log(mixed / likelihood(0.3)), rel=1e-5)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("p", [0.02, 0.5, 0.95])
def test_the_evidence_against_the_truth_is_a_martingale(p, mixture):
    for before in [(0, 0), (1, 1), (3, 10)]:
        k, n = before
        after = p * np.exp(log_evidence(k + 1, n + 1, p, mixture)) + (1 - p) * np.exp(
            log_evidence(k, n + 1, p, mixture)
        )
        assert after == pytest.approx(float(np.exp(log_evidence(k, n, p, mixture))), rel=1e-9)


def test_the_chance_of_ever_missing_within_twelve_looks_is_exactly_below_alpha():
    p, alpha = 0.3, 0.2
    known = {(k, n): proportion(k, n, alpha) for n in range(1, 13) for k in range(n + 1)}
    missed = 0.0
    for path in itertools.product([0, 1], repeat=12):
        sums = np.cumsum(path)
        bounds = [known[k, n] for n, k in enumerate(sums, 1)]
        if any(not low <= p <= high for low, high in bounds):
            missed += p ** sum(path) * (1 - p) ** (12 - sum(path))
    assert 0 < missed <= alpha


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("p", [0.002, 0.1, 0.5, 0.97])
def test_a_proportion_is_missed_at_any_time_as_rarely_as_the_level_says(p, mixture):
    draws = np.random.default_rng(1).random((SEQUENCES, LENGTH)) < p
    evidence = log_evidence(draws.cumsum(axis=1), np.arange(1, LENGTH + 1), p, mixture)
    assert rarely(int(np.sum(evidence.max(axis=1) >= -math.log(ALPHA))))


@given(counts, levels, st.sampled_from(MIXTURES))
@settings(max_examples=200, deadline=None)
def test_the_bounds_of_a_proportion_are_where_the_evidence_reaches_one_over_alpha(count, alpha, mixture):
    k, n = count
    lower, upper = proportion(k, n, alpha, mixture)
    assert 0 <= lower <= k / n <= upper <= 1
    for bound in (lower, upper):
        if 1e-9 < bound < 1 - 1e-9:
            assert float(log_evidence(k, n, bound, mixture)) == pytest.approx(-math.log(alpha), abs=1e-4)


@given(counts, levels, levels)
@settings(max_examples=100, deadline=None)
def test_bounds_at_a_smaller_level_hold_those_at_a_larger_one(count, one, other):
    k, n = count
    wide, narrow = proportion(k, n, min(one, other)), proportion(k, n, max(one, other))
    assert wide[0] <= narrow[0] + 1e-12
    assert wide[1] >= narrow[1] - 1e-12


@given(counts)
@settings(max_examples=100, deadline=None)
def test_turning_successes_into_failures_mirrors_the_bounds_and_one_more_success_raises_them(count):
    k, n = count
    lower, upper = proportion(k, n, 0.05)
    other = proportion(n - k, n, 0.05)
    assert (lower, upper) == (pytest.approx(1 - other[1]), pytest.approx(1 - other[0]))
    if k < n:
        higher = proportion(k + 1, n, 0.05)
        assert higher[0] >= lower
        assert higher[1] >= upper


def test_nothing_is_known_of_a_proportion_without_data():
    assert proportion(0, 0, 0.05) == (0.0, 1.0)


def test_five_hundred_patients_without_a_failure_show_a_rate_below_one_percent():
    assert proportion(0, 500, 0.025, Mixture.around(0.01))[1] < 0.01
    assert proportion(0, 400, 0.025, Mixture.around(0.01))[1] > 0.01


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_a_quantile_is_missed_at_any_time_as_rarely_as_the_level_says(q):
    rng = np.random.default_rng(2)
    truth, ranks = -math.log(1 - q), [quantile_ranks(n, q, ALPHA) for n in range(1, LENGTH + 1)]
    low, high = np.array(ranks).T
    below = (rng.exponential(size=(SEQUENCES, LENGTH)) <= truth).cumsum(axis=1)
    # the order statistic of a rank lies above the truth exactly when fewer values than that do not
    missed = (below < low) | (below >= high)
    assert missed.any(axis=1).sum() > 0
    assert rarely(int(missed.any(axis=1).sum()))


def test_a_quantile_of_values_with_many_ties_is_missed_as_rarely():
    rng = np.random.default_rng(3)
    draws = rng.integers(0, 4, (SEQUENCES, LENGTH)).astype(float)
    missed = 0
    for row in draws:
        found = [quantile(row[:n], 0.6, ALPHA) for n in range(20, LENGTH, 140)]
        missed += any(not low <= 2 <= high for low, high in found)
    assert rarely(missed)


def test_the_ranks_hold_exactly_the_counts_that_are_not_excluded():
    for n, q in [(1, 0.95), (30, 0.5), (400, 0.95), (37, 0.01)]:
        low, high = quantile_ranks(n, q, 0.05)
        evidence = log_evidence(np.arange(n + 1), np.full(n + 1, n), q, Mixture.around(q))
        kept = np.flatnonzero(evidence < -math.log(0.05))
        assert (low, high - 1) == (kept[0], kept[-1])


def test_the_bounds_of_a_quantile_are_values_of_the_sample_or_none_when_it_is_small():
    values = np.random.default_rng(4).permutation(np.arange(1.0, 1001.0))
    low, high = quantile_ranks(1000, 0.95, 0.05)
    assert quantile(values, 0.95, 0.05) == (low, high)
    assert 900 < low < 950 < high <= 1000
    assert quantile(np.array([3.0]), 0.95, 0.05) == (-math.inf, math.inf)
    assert quantile(np.array([]), 0.95, 0.05) == (-math.inf, math.inf)


MEANS = {
    "beta": (lambda rng, size: rng.beta(8, 2, size), 0.8),
    "coin": (lambda rng, size: (rng.random(size) < 0.05).astype(float), 0.05),
    "skew": (lambda rng, size: rng.random(size) ** 9, 0.1),
}


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("centre", [None, 0.0])
def test_a_mean_is_missed_at_any_look_as_rarely_as_its_two_levels_say(name, centre):
    draw, truth = MEANS[name]
    draws = draw(np.random.default_rng(5), (SEQUENCES, LENGTH))
    missed = 0
    for row in draws:
        found = [bounded_mean(row[:n], ALPHA / 2, centre=centre) for n in range(10, LENGTH, 140)]
        missed += any(not low <= truth <= high for low, high in found)
    assert rarely(missed)


@pytest.mark.parametrize("centre", [None, 0.0, 1.0])
def test_the_process_behind_a_mean_grows_by_at_most_one_on_average(centre):
    # one step from any past: E exp(λ(x - μ) - ψ(λ)(x - c)²) ≤ 1, on distributions of two points that are hard for it
    for low, high, p in [(0, 1, 0.01), (0, 1, 0.99), (0.3, 0.4, 0.5), (0, 0.5, 0.1)]:
        mean = p * high + (1 - p) * low
        x, chance = np.array([high, low], dtype=float), np.array([p, 1 - p])
        for stake in [0.5, 0.1, 0.001]:
            cost = -math.log1p(-stake) - stake
            middle = mean if centre is None else centre
            assert chance @ np.exp(stake * (x - mean) - cost * (x - middle) ** 2) <= 1 + 1e-12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), levels, levels)
@settings(max_examples=100, deadline=None)
def test_the_bounds_of_a_mean_hold_it_nest_and_mirror(values, one, other):
    x = np.array(values)
    wide, narrow = bounded_mean(x, min(one, other)), bounded_mean(x, max(one, other))
    assert 0 <= wide[0] <= narrow[0] + 1e-9
    assert narrow[0] <= x.mean() + 1e-9
    assert x.mean() - 1e-9 <= narrow[1] <= wide[1] + 1e-9 <= 1 + 2e-9
    mirrored = bounded_mean(1 - x, one)
    assert bounded_mean(x, one) == (pytest.approx(1 - mirrored[1]), pytest.approx(1 - mirrored[0]))


def test_the_lower_bound_of_a_mean_is_where_its_process_reaches_one_over_alpha():
    x = np.random.default_rng(6).beta(2, 5, 500)
    stakes = 0.5 ** np.arange(1, 13)
    before = np.array([(0.5 + x[:i].sum()) / (i + 1) for i in range(500)])
    spread = ((x - before) ** 2).sum()
    lower = bounded_mean(x, 0.01)[0]
    process = np.exp(stakes * (x.sum() - 500 * lower) + (np.log1p(-stakes) + stakes) * spread).mean()
    assert process == pytest.approx(100, rel=1e-6)


def test_with_a_fixed_centre_the_order_does_not_matter_and_without_one_it_is_kept_to():
    x = np.random.default_rng(7).beta(2, 5, 300)
    ordered = np.sort(x)
    assert bounded_mean(x, 0.05, centre=0.0) == pytest.approx(bounded_mean(ordered, 0.05, centre=0.0))
    assert bounded_mean(x, 0.05) != pytest.approx(bounded_mean(ordered, 0.05), rel=1e-9)


def test_values_that_vary_little_have_a_narrower_mean_than_a_proportion_would():
    x = np.random.default_rng(8).beta(80, 20, 2000)
    low, high = bounded_mean(x, 0.025)
    wide = proportion(float(x.sum()), 2000, 0.05)
    assert high - low < (wide[1] - wide[0]) / 3


def test_nothing_is_known_of_a_mean_without_data():
    assert bounded_mean(np.array([]), 0.05) == (0.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: proportion(3, 2, 0.05),
        lambda: proportion(1, 2, 0.0),
        lambda: proportion(1, 2, 1.0),
        lambda: log_evidence(1, 2, 0.0),
        lambda: quantile_ranks(10, 1.0, 0.05),
        lambda: quantile_ranks(10, 0.5, 1.5),
        lambda: bounded_mean(np.array([0.5]), 0.0),
        lambda: bounded_mean(np.array([1.5]), 0.05),
        lambda: bounded_mean(np.array([np.nan]), 0.05),
    ],
)
def test_what_has_no_meaning_is_refused(call):
    with pytest.raises(InvalidInput, match="."):
        call()
