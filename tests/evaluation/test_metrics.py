"""Every metric against scikit-learn's, its interval against its source, and no number where the data do not suffice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from medtower.evaluation.holdout import Holdout
from medtower.evaluation.metrics import estimate, estimates, point
from medtower.evaluation.weighted import weighted
from medtower.statistics.intervals import delong_auc, wilson


def by_name(found, population="all"):
    return {e.metric: e for e in found if e.population == population}


def expected_classification(y, score, threshold):
    answer = score >= threshold
    return {
        "accuracy": sklearn.accuracy_score(y, answer),
        "sensitivity": sklearn.recall_score(y, answer),
        "specificity": sklearn.recall_score(y, answer, pos_label=0),
        "auc_roc": sklearn.roc_auc_score(y, score),
        "precision": sklearn.precision_score(y, answer),
        "f1": sklearn.f1_score(y, answer),
        "brier": sklearn.brier_score_loss(y, score),
    }


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_every_classification_metric_equals_scikit_learns_at_the_contracts_threshold(
    classifier, patients, threshold
):
    y, score, _ = patients(500, 1)
    score = np.round(score, 2)  # ties
    contract = classifier(output={"threshold": threshold})
    found = by_name(estimates(contract, y, score, {}, seed=1))
    expected = expected_classification(y, score, threshold)
    assert {m: e.value for m, e in found.items()} == pytest.approx(expected)
    holdout = Holdout.of(contract, y, score)
    assert {m: point(m, holdout) for m in expected} == pytest.approx(expected)


def test_every_regression_metric_equals_scikit_learns(regressor):
    rng = np.random.default_rng(2)
    y = rng.normal(50, 10, 400)
    score = y + rng.normal(1, 4, 400)
    expected = {
        "r2": sklearn.r2_score(y, score),
        "mae": sklearn.mean_absolute_error(y, score),
        "mse": sklearn.mean_squared_error(y, score),
        "rmse": math.sqrt(sklearn.mean_squared_error(y, score)),
    }
    found = by_name(estimates(regressor(), y, score, {}, seed=1))
    assert {m: e.value for m, e in found.items()} == pytest.approx(expected)
    assert all(e.lower < e.value < e.upper for e in found.values())
    assert all(e.method.startswith("bootstrap BCa") and e.n == 400 for e in found.values())
    assert found["rmse"].lower == pytest.approx(math.sqrt(found["mse"].lower))


def test_each_interval_is_the_one_its_method_names(classifier, patients):
    y, score, _ = patients(500, 3)
    found = by_name(estimates(classifier(), y, score, {}, seed=1))
    tp, wrong = int(np.sum((y == 1) & (score >= 0.5))), int(np.sum((y == 1) != (score >= 0.5)))
    sensitivity = wilson(tp, int(y.sum()))
    assert (found["sensitivity"].lower, found["sensitivity"].upper) == (sensitivity.lower, sensitivity.upper)
    area = delong_auc(y, score)
    assert (found["auc_roc"].lower, found["auc_roc"].upper) == (area.lower, area.upper)
    share = wilson(tp, tp + wrong)
    assert found["f1"].lower == pytest.approx(2 * share.lower / (1 + share.lower))
    assert [found[m].method for m in ("accuracy", "auc_roc", "f1", "brier")] == [
        "Wilson",
        "DeLong, logit",
        "Wilson on F1/(2 - F1)",
        "bootstrap BCa, 2000",
    ]


def test_n_counts_the_rows_that_the_metric_speaks_about(classifier, patients):
    y, score, _ = patients(500, 4)
    found = by_name(estimates(classifier(), y, score, {}, seed=1))
    assert found["accuracy"].n == found["auc_roc"].n == found["brier"].n == 500
    assert found["sensitivity"].n == y.sum()
    assert found["specificity"].n == 500 - y.sum()
    assert found["precision"].n == np.sum(score >= 0.5)


def test_the_brier_score_is_there_once_whether_the_contract_promises_it_or_not(classifier, patients):
    y, score, _ = patients(200, 5)
    promised = classifier(kpis={"auc_roc": {"target": 0.9, "warning": 0.8, "critical": 0.7}, "brier": {"target": 0.1, "warning": 0.2, "critical": 0.3}})  # fmt: skip
    assert [e.metric for e in estimates(promised, y, score, {}, seed=1)] == ["auc_roc", "brier"]
    assert [e.metric for e in estimates(classifier(), y, score, {}, seed=1)].count("brier") == 1


def test_each_population_has_estimates_of_its_own_rows(classifier, patients):
    y, score, _ = patients(600, 6)
    women = np.arange(600) % 3 == 0
    found = estimates(classifier(), y, score, {"sex=F": women, "sex=M": ~women}, seed=1)
    alone = by_name(estimates(classifier(), y[women], score[women], {}, seed=1))
    assert {e.population for e in found} == {"all", "sex=F", "sex=M"}
    for metric, e in by_name(found, "sex=F").items():
        assert (e.value, e.lower, e.upper, e.n) == (
            alone[metric].value,
            alone[metric].lower,
            alone[metric].upper,
            alone[metric].n,
        )


def test_the_same_seed_gives_the_same_estimates(classifier, patients):
    y, score, _ = patients(200, 7)
    assert estimates(classifier(), y, score, {}, seed=3) == estimates(classifier(), y, score, {}, seed=3)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_one_class_is_insufficient_data_for_every_metric(classifier, outcome):
    score = np.linspace(0.1, 0.9, 200)
    found = estimates(classifier(), np.full(200, outcome), score, {}, seed=1)
    assert len(found) == 7
    assert all((e.value, e.lower, e.upper) == (None, None, None) and not e.known for e in found)
    assert {e.method for e in found} == {"insufficient data: one class only"}


def test_too_few_rows_are_insufficient_data(classifier, regressor, patients):
    y, score, _ = patients(29, 8)
    found = estimates(classifier(), y, score, {}, seed=1)
    found += estimates(regressor(), y, score, {}, seed=1)
    assert all(e.value is None and e.method == "insufficient data: 29 rows, 30 needed" for e in found)


def test_a_ratio_needs_ten_rows_in_its_denominator_and_an_area_ten_of_each_class(classifier):
    y = np.repeat([1.0, 0.0], [9, 91])
    found = by_name(estimates(classifier(), y, np.linspace(0.99, 0.01, 100), {}, seed=1))
    assert {m for m, e in found.items() if not e.known} == {"sensitivity", "auc_roc"}
    assert found["sensitivity"].method == "insufficient data: 9 rows count for sensitivity, 10 needed"
    assert found["sensitivity"].n == 9


def test_nobody_answered_positive_leaves_precision_unknown_and_not_zero(classifier, patients):
    y, score, _ = patients(200, 9)
    found = by_name(estimates(classifier(), y, score * 0.4, {}, seed=1))
    assert found["precision"].value is None
    assert found["precision"].n == 0
    assert found["sensitivity"].value == 0


def test_an_outcome_that_hardly_varies_has_no_r2_but_has_an_error(regressor):
    y = np.full(100, 7.0)
    y[:5] = 9
    found = by_name(estimates(regressor(), y, y + 0.5, {}, seed=1))
    assert found["r2"].value is None
    assert found["r2"].method == "insufficient data: the outcome does not vary enough"
    assert found["mae"].value == pytest.approx(0.5)


def test_no_rows_at_all_is_insufficient_data(classifier):
    assert not any(e.known for e in estimates(classifier(), [], [], {}, seed=1))
    assert not any(e.known for e in estimates(classifier(), [np.nan] * 50, [0.5] * 50, {}, seed=1))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(40, 120))
def test_a_weight_of_two_is_the_same_row_twice(seed, n):
    rng = np.random.default_rng(seed)
    y, score = (rng.random(n) < 0.5).astype(float), np.round(rng.random(n), 1)
    y[:2] = [0, 1]
    counts = rng.integers(1, 4, n)
    for task, names in (
        ("classification", ("accuracy", "sensitivity", "specificity", "auc_roc", "precision", "f1", "brier")),
        ("regression", ("r2", "mae", "mse", "rmse")),
    ):
        once = Holdout(task, 0.5, y, score, {})
        repeated = Holdout(task, 0.5, np.repeat(y, counts), np.repeat(score, counts), {})
        ones = np.ones((1, repeated.n))
        for metric in names:
            by_weight = weighted(metric, once)(counts[None, :].astype(float))
            assert by_weight == pytest.approx(weighted(metric, repeated)(ones), nan_ok=True)


def test_the_wilson_interval_of_f1_covers_the_true_f1_in_95_of_100_samples():
    rng, repeats, n, held = np.random.default_rng(12), 1500, 200, 0
    truth = 2 * 0.24 / (2 * 0.24 + 0.14 + 0.06)  # 30 % ill, sensitivity 0.8, 1 - specificity 0.2
    for _ in range(repeats):
        y = rng.random(n) < 0.3
        answer = rng.random(n) < np.where(y, 0.8, 0.2)
        found = estimate(
            "f1", Holdout("classification", 0.5, y.astype(float), answer.astype(float), {}), seed=1
        )
        held += found.lower <= truth <= found.upper
    # 99.9 % of binomial(1500, 0.95) lie within ±0.0185
    assert held / repeats == pytest.approx(0.95, abs=0.0185)


def test_the_interval_of_the_brier_score_lets_prevalence_vary_and_covers():
    rng, repeats, n, held = np.random.default_rng(13), 300, 150, 0
    truth = 0.3 * 0.49 + 0.7 * 0.09  # everybody is answered 0.3 and 30 % are ill
    for repeat in range(repeats):
        y = (rng.random(n) < 0.3).astype(float)
        found = estimate("brier", Holdout("classification", 0.5, y, np.full(n, 0.3), {}), seed=repeat)
        held += found.lower <= truth <= found.upper
    # 99.9 % of binomial(300, 0.95) lie within ±0.042; within fixed classes the interval would have no width at all
    assert held / repeats == pytest.approx(0.95, abs=0.042)
