"""Adjusted p-values against the examples of their papers, their definitions and their promised error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from medtower.errors import InvalidInput
from medtower.statistics.multiplicity import benjamini_hochberg, holm

# the myocardial infarction trial of Benjamini & Hochberg 1995, section 4.1
TRIAL = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
]  # fmt: skip
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_benjamini_hochberg_rejects_four_of_the_papers_fifteen_and_holm_three():
    assert np.flatnonzero(benjamini_hochberg(TRIAL) <= 0.05).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(holm(TRIAL) <= 0.05).tolist() == [0, 1, 2]


def test_q_values_worked_by_hand():
    # sorted .01 .02 .03 .5 → times 4/rank: .04 .04 .04 .5
    assert benjamini_hochberg([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.04, 0.04, 0.5, 0.04])


def test_holm_worked_by_hand():
    # sorted .01 .02 .03 .5 → times 4 3 2 1: .04 .06 .06 .5
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])


@given(P_VALUES)
def test_benjamini_hochberg_equals_scipy(p_values):
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


@given(P_VALUES)
def test_adjusting_never_lowers_a_p_value_keeps_the_order_and_holm_is_the_stricter(p_values):
    q, adjusted = benjamini_hochberg(p_values), holm(p_values)
    assert np.all(q >= np.array(p_values) - 1e-12) and np.all(adjusted >= q - 1e-12) and np.all(adjusted <= 1)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(q[order]) >= 0) and np.all(np.diff(adjusted[order]) >= 0)


@pytest.mark.parametrize("adjust", [benjamini_hochberg, holm])
def test_a_test_that_could_not_be_run_stays_unknown_and_does_not_count(adjust):
    adjusted = adjust([0.01, np.nan, 0.04])
    assert np.isnan(adjusted[1])
    assert adjusted[[0, 2]] == pytest.approx(adjust([0.01, 0.04]))


@pytest.mark.parametrize("adjust", [benjamini_hochberg, holm])
def test_no_tests_give_no_values(adjust):
    assert adjust([]).shape == (0,)


@pytest.mark.parametrize("adjust", [benjamini_hochberg, holm])
@pytest.mark.parametrize("p", [-0.1, 1.1, np.inf])
def test_what_is_no_probability_is_refused(adjust, p):
    with pytest.raises(InvalidInput, match=r"outside \[0, 1\]"):
        adjust([0.5, p])


def rejected(adjust, *, repeats, nulls, effects, seed):
    """False and all rejections [repeats] at 0.05 among one-sided normal tests, of which `effects` are real (shift 3)."""
    rng = np.random.default_rng(seed)
    shift = np.repeat([0.0, 3.0], [nulls, effects])
    p = stats.norm.sf(rng.normal(size=(repeats, nulls + effects)) + shift)
    hits = np.array([adjust(row) <= 0.05 for row in p])
    return hits[:, :nulls].sum(axis=1), hits.sum(axis=1)


def test_benjamini_hochberg_keeps_the_false_discovery_rate():
    false, found = rejected(benjamini_hochberg, repeats=2000, nulls=40, effects=10, seed=10)
    rate = false / np.maximum(found, 1)
    # independent tests: exactly 0.05 · 40/50; tolerance 3.3 standard errors of the simulated mean (99.9 %)
    assert rate.mean() == pytest.approx(0.04, abs=3.3 * rate.std() / np.sqrt(2000))
    assert (found - false).mean() > 5


def test_holm_keeps_the_chance_of_any_false_rejection():
    false, _ = rejected(holm, repeats=2000, nulls=40, effects=0, seed=11)
    # 99.9 % of binomial(2000, 0.05) lie within ±0.016; with all hypotheses true the rate is 1 - (1 - 0.05/40)^40 = 0.0488
    assert np.mean(false > 0) == pytest.approx(0.0488, abs=0.016)
