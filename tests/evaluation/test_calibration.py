"""Calibration error worked by hand, and the recalibration against a distortion that is known and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from medtower.errors import InvalidInput, ModelMisbehaved
from medtower.evaluation.calibration import calibrate, recalibration


def test_the_error_of_two_bins_worked_by_hand():
    # 50 answers of 0.2 with 20 ill (|0.4 - 0.2|), 50 answers of 0.8 with 45 ill (|0.9 - 0.8|): half of each
    score = np.repeat([0.2, 0.8], 50)
    y = np.concatenate([np.repeat([1, 0], [20, 30]), np.repeat([1, 0], [45, 5])])
    report = calibrate(y, score)
    assert report.ece == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)
    assert [(b["n"], b["observed"]) for b in report.bins] == [(50, 0.4), (50, 0.9)]
    assert report.bins[0]["predicted"] == pytest.approx(0.2)
    assert all(b["lower"] < b["observed"] < b["upper"] for b in report.bins)


def test_bins_hold_equal_counts_and_every_row_once(patients):
    y, score, _ = patients(1003, 1)
    bins = calibrate(y, score).bins
    assert len(bins) == 10
    assert sum(b["n"] for b in bins) == 1003
    assert max(b["n"] for b in bins) - min(b["n"] for b in bins) <= 1
    assert [b["predicted"] for b in bins] == sorted(b["predicted"] for b in bins)


def test_the_order_of_rows_does_not_matter_even_with_ties(patients):
    y, score, _ = patients(700, 2)
    score = np.round(score, 1)
    order = np.random.default_rng(3).permutation(700)
    first, second = calibrate(y, score), calibrate(y[order], score[order])
    assert first.ece == pytest.approx(second.ece)
    assert [b["n"] for b in first.bins] == [b["n"] for b in second.bins]


def test_probabilities_that_are_true_are_calibrated(patients):
    y, score, _ = patients(20_000, 4)
    report = calibrate(y, score)
    assert report.ece < 0.015
    assert report.slope == pytest.approx(1, abs=0.05)
    assert report.intercept == pytest.approx(0, abs=0.06)


def test_a_known_distortion_comes_back_as_slope_and_intercept(patients):
    y, _, latent = patients(20_000, 5)
    # the model answers logit 2·latent + 1, so latent = 0.5·logit - 0.5
    overconfident = 1 / (1 + np.exp(-(2 * latent + 1)))
    report = calibrate(y, overconfident)
    assert report.slope == pytest.approx(0.5, abs=0.03)
    assert report.intercept == pytest.approx(-0.5, abs=0.06)
    assert report.ece > 0.08


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(30, 300), st.floats(-3, 3), st.floats(-2, 2))
def test_the_recalibration_is_the_maximum_of_the_likelihood(seed, n, slope, intercept):
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-(slope * logit + intercept)))).astype(float)
    if y.min() == y.max():
        return
    found = recalibration(y, 1 / (1 + np.exp(-logit)))
    if found is None:  # separated: some cut leaves the classes on its two sides
        positive, negative = logit[y == 1], logit[y == 0]
        assert positive.min() > negative.max() or positive.max() < negative.min()
        return

    assert likelihood_loss(found, y, logit) <= best_loss(y, logit) + 1e-6


def likelihood_loss(found, y, logit):
    eta = found[1] + found[0] * logit
    return float(np.sum(np.logaddexp(0, eta) - y * eta))


def best_loss(y, logit):
    return optimize.minimize(likelihood_loss, [0.0, 0.0], (y, logit), method="BFGS").fun


@pytest.mark.parametrize("seed", [819, 1667])
def test_the_recalibration_arrives_where_newtons_full_step_would_overshoot(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(30, 200)
    logit = np.clip(rng.standard_t(1, n) * rng.uniform(0.1, 3), -13, 13)
    y = (rng.random(n) < 1 / (1 + np.exp(-rng.uniform(0, 20) * logit + rng.uniform(-4, 4)))).astype(float)
    found = recalibration(y, 1 / (1 + np.exp(-logit)))
    assert likelihood_loss(found, y, logit) <= best_loss(y, logit) + 1e-6


def test_answers_of_exactly_0_and_1_are_survived(patients):
    y, score, _ = patients(500, 6)
    score[:20], score[20:40] = 0.0, 1.0
    report = calibrate(y, score)
    assert np.isfinite([report.slope, report.intercept, report.ece]).all()


def test_unknown_outcomes_are_left_out(patients):
    y, score, _ = patients(300, 7)
    assert calibrate(np.append(y, np.nan), np.append(score, 0.5)) == calibrate(y, score)


@pytest.mark.parametrize("y", [[0, 1] * 14, [1] * 100, [np.nan] * 100, []])
def test_too_few_rows_or_one_class_is_no_calibration(y):
    report = calibrate(y, np.linspace(0.1, 0.9, len(y)))
    assert (report.ece, report.slope, report.intercept, report.bins) == (None, None, None, [])
    assert report.n == np.sum(~np.isnan(np.asarray(y, dtype=float)))


@pytest.mark.parametrize("score", [np.repeat([0.1, 0.9], 50), np.repeat([0.9, 0.1], 50), np.full(100, 0.5)])
def test_separated_classes_or_one_score_have_an_error_but_no_slope(score):
    report = calibrate(np.repeat([0, 1], 50), score)
    assert report.ece is not None
    assert (report.slope, report.intercept) == (None, None)


def test_a_constant_that_is_right_on_average_has_no_calibration_error():
    assert calibrate([0, 1] * 50, [0.5] * 100).ece == 0


def test_rows_that_do_not_match_or_are_no_probabilities_are_refused():
    with pytest.raises(InvalidInput, match="y has 2 rows and score has 3"):
        calibrate([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ModelMisbehaved, match="not a logit"):
        calibrate([0, 1], [0.1, -2.0])
