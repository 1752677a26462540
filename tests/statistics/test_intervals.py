"""Intervals against published values, against definitions written out, and against their promised coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medtower.errors import InvalidInput
from medtower.statistics.intervals import bootstrap, delong_auc, midranks, newcombe, quantile, wilson


def weighted_mean(column):
    return lambda weights: weights @ column / weights.sum(axis=1)


@pytest.mark.parametrize(
    ("successes", "n", "lower", "upper"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_values_of_newcombe_1998_table_1(successes, n, lower, upper):
    interval = wilson(successes, n)
    assert (round(interval.lower, 4), round(interval.upper, 4)) == (lower, upper)
    assert interval.value == successes / n
    assert interval.method == "Wilson"


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_wilson_interval_holds_its_value_inside_0_and_1_and_mirrors(counts):
    successes, n = counts
    interval, mirrored = wilson(successes, n), wilson(n - successes, n)
    assert 0 <= interval.lower <= interval.value <= interval.upper <= 1
    assert interval.lower == pytest.approx(1 - mirrored.upper, abs=1e-12)


def test_wilson_covers_95_percent_on_average_over_all_proportions():
    n, grid = 40, np.linspace(0.02, 0.98, 193)
    bounds = [wilson(k, n) for k in range(n + 1)]
    lower, upper = (np.array([getattr(b, side) for b in bounds]) for side in ("lower", "upper"))
    coverage = [stats.binom.pmf(np.arange(n + 1), n, p)[(lower <= p) & (p <= upper)].sum() for p in grid]
    assert np.mean(coverage) == pytest.approx(0.95, abs=0.005)  # no simulation: summed over every outcome
    assert min(coverage) > 0.90


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_counts_that_are_no_proportion(successes, n):
    with pytest.raises(InvalidInput, match="is not a proportion"):
        wilson(successes, n)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_outside_0_and_1_is_refused(confidence):
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        wilson(1, 2, confidence)


def test_a_higher_confidence_makes_a_wider_interval():
    narrow, wide = wilson(30, 100, 0.80), wilson(30, 100, 0.99)
    assert wide.lower < narrow.lower < 0.3 < narrow.upper < wide.upper
    assert quantile(0.95) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(
    ("counts", "lower", "upper"),
    [
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
    ],
)
def test_newcombe_gives_the_values_of_his_1998_table_2_method_10(counts, lower, upper):
    interval = newcombe(*counts)
    assert (round(interval.lower, 4), round(interval.upper, 4)) == (lower, upper)


def test_tied_values_share_the_mean_of_their_ranks():
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4, 1, 4, 2, 4]


def definition_of_delong(y, score):
    """Area and standard error from all pairs, as DeLong et al. 1988 define them."""
    positive, negative = score[y == 1], score[y == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    spread = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    return wins.mean(), math.sqrt(spread)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(3, 40), st.integers(1, 3))
def test_the_fast_delong_equals_the_definition_over_all_pairs_ties_included(seed, m, n, digits):
    rng = np.random.default_rng(seed)
    y = np.repeat([1, 0], [m, n])
    score = np.round(rng.random(m + n) * 0.6 + 0.2 * y, digits)
    area, error = definition_of_delong(y, score)
    interval = delong_auc(y, score)
    assert interval.value == pytest.approx(area)
    assert 0 <= interval.lower <= interval.value <= interval.upper <= 1
    if 0 < area < 1:
        half = 1.959964 * error / (area * (1 - area))
        assert interval.lower == pytest.approx(
            stats.logistic.cdf(math.log(area / (1 - area)) - half), rel=1e-5
        )
        assert interval.upper == pytest.approx(
            stats.logistic.cdf(math.log(area / (1 - area)) + half), rel=1e-5
        )


def test_the_area_of_a_case_worked_by_hand():
    # positives .4 .8 .9 against negatives .1 .4 .5: won 1.5 + 3 + 3 of 9; V10 = .5, 1, 1 and V01 = 1, 5/6, 2/3
    interval = delong_auc([1, 1, 1, 0, 0, 0], [0.4, 0.8, 0.9, 0.1, 0.4, 0.5])
    assert interval.value == pytest.approx(7.5 / 9)
    error = math.sqrt((1 / 12) / 3 + (1 / 36) / 3)
    half = 1.959963985 * error / ((7.5 / 9) * (1.5 / 9))
    assert interval.upper == pytest.approx(1 / (1 + math.exp(-math.log(5) - half)))


def test_turning_the_scores_round_turns_the_area_round():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 60)
    score = rng.random(60) + 0.4 * y
    forward, backward = delong_auc(y, score), delong_auc(y, -score)
    assert forward.value == pytest.approx(1 - backward.value)
    assert forward.lower == pytest.approx(1 - backward.upper)


def test_a_score_that_says_nothing_has_area_one_half():
    assert delong_auc([0, 1] * 20, [0.3] * 40).value == 0.5


def test_perfect_separation_is_not_certainty():
    y = np.repeat([0, 1], 50)
    perfect, inverse = delong_auc(y, y), delong_auc(y, 1 - y)
    assert (perfect.value, perfect.upper) == (1.0, 1.0)
    theta = perfect.lower  # where (1 - θ)² = z² V(θ) with m = n = 50
    variance = theta * (1 - theta) * (1 + 49 * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / 2500
    assert (1 - theta) ** 2 == pytest.approx(1.959964**2 * variance, rel=1e-5)
    assert 0.9 < theta < 0.99
    assert (inverse.lower, inverse.upper) == (0.0, pytest.approx(1 - theta))


@pytest.mark.parametrize("y", [[0] * 10, [1] * 10, [1] + [0] * 9])
def test_an_area_needs_two_of_each_class(y):
    with pytest.raises(InvalidInput, match="at least two of each class"):
        delong_auc(y, np.linspace(0, 1, 10))


@pytest.mark.parametrize(("shift", "m", "n"), [(1.5, 60, 60), (0.5, 30, 90)])
def test_delong_covers_the_true_area_in_95_of_100_samples(shift, m, n):
    rng, truth, repeats = np.random.default_rng(20), stats.norm.cdf(shift / math.sqrt(2)), 1500
    y = np.repeat([1, 0], [m, n])
    held = 0
    for _ in range(repeats):
        interval = delong_auc(y, rng.normal(size=m + n) + shift * y)
        held += interval.lower <= truth <= interval.upper
    # 99.9 % of binomial(1500, 0.95) lie within ±0.0185
    assert held / repeats == pytest.approx(0.95, abs=0.0185)


def test_the_bootstrap_of_a_mean_agrees_with_students_interval():
    column = np.random.default_rng(2).normal(3, 2, 400)
    interval = bootstrap(weighted_mean(column), 400, seed=5)
    expected = stats.t.interval(0.95, 399, column.mean(), column.std(ddof=1) / 20)
    assert interval.value == pytest.approx(column.mean())
    assert (interval.lower, interval.upper) == pytest.approx(expected, abs=0.02)
    assert interval.method == "bootstrap BCa, 2000"


def test_the_bootstrap_agrees_with_scipys_bca_on_a_skewed_sample():
    column = np.random.default_rng(3).lognormal(0, 1, 80)
    ours = bootstrap(weighted_mean(column), 80, seed=5, resamples=20_000)
    theirs = stats.bootstrap((column,), np.mean, n_resamples=20_000, rng=np.random.default_rng(6), batch=1000)
    low, high = theirs.confidence_interval
    assert ours.lower == pytest.approx(low, rel=0.01)
    assert ours.upper == pytest.approx(high, rel=0.02)
    assert ours.upper - ours.value > ours.value - ours.lower


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    column = np.random.default_rng(4).normal(size=50)
    one, same, other = (bootstrap(weighted_mean(column), 50, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_large_sample_is_drawn_in_parts_and_keeps_every_resample():
    n, seen = 30_000, []
    column = np.random.default_rng(7).normal(size=n)

    def statistic(weights):
        seen.append(len(weights))
        return weighted_mean(column)(weights)

    interval = bootstrap(statistic, n, seed=1, resamples=300)
    assert max(seen) * n <= 2**22
    assert sum(k for k in seen if k > 1) == 300
    # ±1.96 standard errors of 1/√30000; 300 resamples place each bound to about ±0.0012
    assert interval.lower == pytest.approx(column.mean() - 0.0113, abs=0.004)
    assert interval.upper == pytest.approx(column.mean() + 0.0113, abs=0.004)


def test_strata_keep_their_sizes_in_every_resample():
    labels = np.repeat([0, 1, 2], [5, 10, 25])
    sizes = []

    def statistic(weights):
        sizes.extend((weights @ np.eye(3)[labels])[1:].tolist() if len(weights) > 1 else [])
        return weights @ np.arange(40.0)

    bootstrap(statistic, 40, seed=1, strata=labels, resamples=100)
    assert {tuple(s) for s in sizes} == {(5, 10, 25)}


def test_a_constant_has_an_interval_without_width():
    interval = bootstrap(weighted_mean(np.full(30, 2.0)), 30, seed=1)
    assert interval.lower == interval.value == interval.upper == 2.0


def test_a_statistic_that_is_undefined_is_refused():
    with pytest.raises(InvalidInput, match="undefined on this sample"):
        bootstrap(lambda weights: np.full(len(weights), np.nan), 30, seed=1)


def test_a_resample_on_which_the_statistic_is_undefined_does_not_count():
    column = np.random.default_rng(8).normal(size=60)

    def sometimes(weights):
        means = weighted_mean(column)(weights)
        return np.where(np.arange(len(weights)) % 10 == 9, np.nan, means)

    interval = bootstrap(sometimes, 60, seed=1)
    assert math.isfinite(interval.lower) and math.isfinite(interval.upper)


def test_the_bootstrap_covers_a_skewed_mean_nearly_as_often_as_promised():
    rng, repeats, held = np.random.default_rng(9), 400, 0
    for repeat in range(repeats):
        interval = bootstrap(weighted_mean(rng.exponential(1.0, 80)), 80, seed=repeat, resamples=600)
        held += interval.lower <= 1.0 <= interval.upper
    # 99.9 % of binomial(400, 0.95) lie within ±0.036; BCa of an exponential mean at n = 80 has a true coverage near 0.94
    assert 0.94 - 0.039 <= held / repeats <= 0.94 + 0.039
