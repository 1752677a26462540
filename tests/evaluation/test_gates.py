"""Each gate in both directions: for metrics where higher is better and where lower is, what is good passes and what is bad does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medtower.domain.verdict import Decision, overall
from medtower.errors import ModelMisbehaved
from medtower.evaluation.gates import regression, run
from medtower.evaluation.holdout import Holdout

PROMOTE, HOLD = Decision.PROMOTE, Decision.HOLD
NAMES = ["regression", "calibration", "populations", "edge_cases", "privacy", "targets"]
CLASSIFICATION = ["auc_roc", "accuracy", "sensitivity", "specificity", "precision", "f1", "brier"]
REGRESSION = ["r2", "mae", "mse", "rmse"]
PROMISE = {"target": 0.9, "warning": 0.8, "critical": 0.7}


def gate(
    name, contract, y, candidate, champion=None, *, populations=None, train=None, edge=(0.1, 0.9), seed=1
):
    """The verdict `name`; by default the training rows are the holdout's."""
    verdicts = run(
        contract,
        y,
        candidate,
        champion,
        populations or {},
        train=train or (y, candidate),
        edge_scores=np.array(edge),
        seed=seed,
    )
    assert [v.name for v in verdicts] == NAMES
    assert all(v.kind == "gate" and v.reason and v.decision in (PROMOTE, HOLD) for v in verdicts)
    json.loads(json.dumps([v.model_dump(mode="json") for v in verdicts], allow_nan=False))
    return next(v for v in verdicts if v.name == name)


def probabilities(latent):
    return 1 / (1 + np.exp(-latent))


@pytest.fixture
def pair(patients):
    """Outcomes [800], the true probabilities, and those of a model that sees the truth through noise."""

    def draw(seed):
        y, score, latent = patients(800, seed)
        return y, score, probabilities(latent + np.random.default_rng(seed + 1).normal(0, 3, 800))

    return draw


@pytest.fixture
def numbers():
    """Outcomes [600], and the answers of a precise and of an imprecise model."""

    def draw(seed):
        rng = np.random.default_rng(seed)
        y = rng.normal(0, 3, 600)
        return y, y + rng.normal(0, 0.5, 600), y + rng.normal(0, 2.0, 600)

    return draw


def contract_for(metric, classifier, regressor, **gates):
    if metric in REGRESSION:
        return regressor(primary=metric, **gates)
    kpis = {"brier": {"target": 0.1, "warning": 0.5, "critical": 0.9}} if metric == "brier" else None
    return classifier(primary=metric, kpis=kpis, **gates)


@pytest.mark.parametrize("metric", CLASSIFICATION + REGRESSION)
def test_a_better_candidate_passes_and_a_worse_one_is_held_whichever_way_the_metric_points(
    metric, classifier, regressor, pair, numbers
):
    y, good, bad = numbers(1) if metric in REGRESSION else pair(1)
    contract = contract_for(metric, classifier, regressor, margin=0.01)
    better = gate("regression", contract, y, good, bad)
    worse = gate("regression", contract, y, bad, good)
    assert (better.decision, worse.decision) == (PROMOTE, HOLD)
    assert better.evidence["gain"] > 0 > worse.evidence["gain"]
    assert better.evidence["lower"] == pytest.approx(-worse.evidence["upper"], rel=0.1)


@pytest.mark.parametrize("metric", ["auc_roc", "brier", "r2", "mae"])
def test_the_margin_decides_between_a_little_and_too_much_worse(metric, classifier, regressor, pair, numbers):
    y, good, bad = numbers(2) if metric in REGRESSION else pair(2)
    verdict = gate("regression", contract_for(metric, classifier, regressor, margin=0.0), y, bad, good)
    lower = verdict.evidence["lower"]
    just, short = (contract_for(metric, classifier, regressor, margin=-lower + d) for d in (1e-6, -1e-6))
    assert gate("regression", just, y, bad, good).decision is PROMOTE
    assert gate("regression", short, y, bad, good).decision is HOLD


def test_the_same_model_again_is_not_inferior_and_a_margin_of_nothing_asks_for_more(classifier, pair):
    y, good, _ = pair(3)
    same = gate("regression", classifier(), y, good, good)
    assert same.decision is PROMOTE
    assert (same.evidence["gain"], same.evidence["lower"], same.evidence["upper"]) == (0, 0, 0)
    assert gate("regression", classifier(margin=0.0), y, good, good).decision is HOLD


def test_the_comparison_is_paired_so_that_two_alike_models_are_told_apart_finely(classifier, pair):
    y, good, _ = pair(4)
    alike = np.clip(good + np.random.default_rng(5).normal(0, 0.01, 800), 0, 1)
    verdict = gate("regression", classifier(), y, alike, good)
    assert verdict.evidence["upper"] - verdict.evidence["lower"] < 0.005  # unpaired it would be about 0.07
    assert verdict.evidence["method"].startswith("paired bootstrap BCa")


def test_a_small_loss_that_the_data_cannot_exclude_is_held(classifier, patients):
    y, score, latent = patients(300, 6)
    noisy = probabilities(latent + np.random.default_rng(7).normal(0, 1.2, 300))
    verdict = gate("regression", classifier(margin=0.02), y, noisy, score)
    assert verdict.decision is HOLD
    assert verdict.evidence["lower"] <= -0.02
    assert verdict.evidence["candidate"] - verdict.evidence["champion"] == pytest.approx(
        verdict.evidence["gain"]
    )


def test_a_candidate_that_is_worse_by_the_margin_rarely_passes(regressor):
    contract, rng, passed = regressor(margin=0.2), np.random.default_rng(8), 0
    for repeat in range(200):
        y = rng.normal(0, 3, 300)
        champion, candidate = y + rng.normal(0, 1, 300), y + rng.normal(0, 1.2507, 300)
        # E|error| = σ·√(2/π): the candidate is worse by exactly the margin of 0.2
        ours, theirs = Holdout.of(contract, y, candidate), Holdout.of(contract, y, champion)
        passed += regression(contract, ours, theirs, repeat).decision is PROMOTE
    assert passed <= 13  # 99.9 % of binomial(200, 0.025) lie at or below 13


def test_the_first_version_has_no_champion_to_beat(classifier, pair):
    y, good, _ = pair(9)
    verdict = gate("regression", classifier(), y, good, None)
    assert verdict.decision is PROMOTE
    assert verdict.reason.startswith("first version")


def test_too_few_rows_hold_every_gate_that_needs_them(classifier, patients):
    y, score, _ = patients(299, 10)
    for name in ("regression", "calibration", "targets"):
        verdict = gate(name, classifier(), y, score, score)
        assert verdict.decision is HOLD
        assert verdict.reason == "insufficient data: 299 rows, 300 needed"


def test_one_class_holds_every_gate_that_needs_two(classifier):
    y, score = np.zeros(400), np.linspace(0.1, 0.9, 400)
    for name in ("regression", "calibration", "populations", "privacy", "targets"):
        verdict = gate(name, classifier(), y, score, score, populations={"sex=F": y == 0})
        assert verdict.decision is HOLD, name
        assert verdict.reason.startswith("insufficient data")


def test_a_champion_that_never_answers_positive_cannot_be_compared_on_precision(classifier, pair):
    y, good, _ = pair(11)
    verdict = gate("regression", classifier(primary="precision"), y, good, good * 0.4)
    assert (verdict.decision, verdict.evidence) == (HOLD, {"n": 800})


def test_calibration_is_held_above_the_bound_and_passes_below(classifier, patients):
    y, score, latent = patients(2000, 12)
    assert gate("calibration", classifier(), y, score).decision is PROMOTE
    verdict = gate("calibration", classifier(), y, probabilities(3 * latent + 1))
    assert verdict.decision is HOLD
    assert verdict.evidence["ece"] > verdict.evidence["max_ece"] == 0.08
    assert verdict.evidence["slope"] == pytest.approx(1 / 3, abs=0.06)


def test_calibration_does_not_apply_to_numbers(regressor, numbers):
    y, good, _ = numbers(13)
    verdict = gate("calibration", regressor(), y, good)
    assert verdict.decision is PROMOTE
    assert verdict.reason.startswith("does not apply")


@pytest.mark.parametrize("metric", ["auc_roc", "brier", "r2", "mae", "rmse"])
def test_a_population_that_is_clearly_worse_holds_and_one_that_is_better_does_not(
    metric, classifier, regressor, pair, numbers
):
    y, good, bad = numbers(14) if metric in REGRESSION else pair(14)
    poor, rich = np.arange(len(y)) % 4 == 0, np.arange(len(y)) % 4 == 1
    contract = contract_for(metric, classifier, regressor, max_population_gap=0.02)
    served_badly = gate("populations", contract, y, np.where(poor, bad, good), populations={"sex=F": poor})
    served_well = gate("populations", contract, y, np.where(rich, good, bad), populations={"sex=M": rich})
    assert (served_badly.decision, served_well.decision) == (HOLD, PROMOTE)
    assert served_badly.evidence["gap of sex=F"] > 0.02
    assert served_well.evidence["gap of sex=M"] < 0
    assert "sex=F is worse" in served_badly.reason


@pytest.mark.parametrize(("size", "decision"), [(40, PROMOTE), (400, HOLD)])
def test_a_population_is_worse_only_when_its_whole_interval_is(classifier, size, decision):
    # right for 80 % of the population and 92 % of the others; Wilson's upper bound is 0.895 for 32/40 and 0.836 for 320/400
    member = np.arange(2000) < size
    right = np.where(member, np.arange(2000) % 5 != 0, np.arange(2000) % 25 > 1)
    y = (np.arange(2000) // 25 % 2).astype(float)
    score = np.where(right, y, 1 - y) * 0.8 + 0.1
    contract = classifier(primary="accuracy", max_population_gap=0.05)
    verdict = gate("populations", contract, y, score, populations={"sex=F": member})
    assert verdict.evidence["overall"] - 0.80 > 0.05
    assert verdict.decision is decision
    upper = 0.8953 if size == 40 else 0.8363
    assert verdict.evidence["gap of sex=F"] == pytest.approx(verdict.evidence["overall"] - upper, abs=2e-3)


def test_populations_too_small_for_a_number_are_named_and_do_not_fail(classifier, pair):
    y, good, _ = pair(17)
    few, many = np.arange(800) < 20, np.arange(800) >= 20
    verdict = gate("populations", classifier(), y, good, populations={"sex=X": few, "sex=F": many})
    assert verdict.decision is PROMOTE
    assert verdict.evidence["insufficient data"] == "sex=X"
    assert verdict.reason.endswith("insufficient data for sex=X")


def test_a_contract_without_populations_has_none_to_compare(classifier, pair):
    y, good, _ = pair(18)
    verdict = gate("populations", classifier(), y, good)
    assert (verdict.decision, verdict.reason) == (PROMOTE, "the contract names no populations")


@pytest.mark.parametrize(
    ("edge", "decision"),
    [
        ([0.0, 0.5, 1.0], PROMOTE),
        ([[0.0], [1.0]], PROMOTE),
        ([0.5, np.nan], HOLD),
        ([0.5, np.inf], HOLD),
        ([0.5, 1.001], HOLD),
        ([-0.001, 0.5], HOLD),
        ([], HOLD),
    ],
)
def test_answers_at_the_edges_must_be_finite_probabilities(classifier, pair, edge, decision):
    y, good, _ = pair(19)
    assert gate("edge_cases", classifier(), y, good, edge=edge).decision is decision


@pytest.mark.parametrize(
    ("limits", "edge", "decision"),
    [
        ((-20, 20), [-20, 20], PROMOTE),
        ((-20, 20), [0, 21], HOLD),
        (None, [1e6], PROMOTE),
        (None, [np.nan], HOLD),
    ],
)
def test_answers_at_the_edges_must_lie_in_the_outputs_range(regressor, numbers, limits, edge, decision):
    y, good, _ = numbers(20)
    assert gate("edge_cases", regressor(limits=limits), y, good, edge=edge).decision is decision


@pytest.mark.parametrize("metric", CLASSIFICATION + REGRESSION)
def test_a_model_that_is_much_better_on_its_training_rows_is_held_and_the_reverse_is_not(
    metric, classifier, regressor, pair, numbers
):
    y, good, bad = numbers(21) if metric in REGRESSION else pair(21)
    contract = contract_for(metric, classifier, regressor, max_memorisation=0.02)
    memorised = gate("privacy", contract, y, bad, train=(y, good))
    reverse = gate("privacy", contract, y, good, train=(y, bad))
    assert (memorised.decision, reverse.decision) == (HOLD, PROMOTE)
    assert memorised.evidence["gap"] == pytest.approx(-reverse.evidence["gap"])
    assert memorised.evidence["gap"] > 0.02


def test_privacy_is_held_when_the_training_rows_do_not_suffice(classifier, pair):
    y, good, _ = pair(22)
    verdict = gate("privacy", classifier(), y, good, train=(y[:20], good[:20]))
    assert (verdict.decision, verdict.reason) == (HOLD, "insufficient data: 20 rows, 30 needed")


def test_targets_hold_a_critical_kpi_and_pass_a_warning_by_name(classifier, pair):
    y, good, _ = pair(23)
    contract = classifier(
        kpis={"auc_roc": PROMISE, "accuracy": {"target": 0.9, "warning": 0.9, "critical": 0.1}}
    )
    passed, held = gate("targets", contract, y, good), gate("targets", contract, y, good[::-1])
    assert (passed.decision, passed.reason) == (PROMOTE, "no KPI is critical; warning: accuracy")
    assert passed.evidence["accuracy status"] == "warning"
    assert (held.decision, held.reason) == (HOLD, "critical: auc_roc")


def test_targets_hold_a_large_error_and_not_a_small_one(regressor, numbers):
    y, good, bad = numbers(24)
    contract = regressor(kpis={"mae": {"target": 0.5, "warning": 0.7, "critical": 0.9}})
    assert gate("targets", contract, y, good).decision is PROMOTE
    assert gate("targets", contract, y, bad).reason == "critical: mae"


def test_a_kpi_that_is_not_known_holds_the_targets(classifier, pair):
    y, good, _ = pair(25)
    contract = classifier(kpis={"auc_roc": PROMISE, "precision": PROMISE})
    verdict = gate("targets", contract, y, good * 0.4)
    assert (verdict.decision, verdict.reason) == (HOLD, "insufficient data: precision")
    assert verdict.evidence["precision"] is None


def test_rows_with_unknown_outcomes_count_for_neither_model(classifier, pair):
    y, good, bad = pair(26)
    padded, more = np.append(y, [np.nan] * 50), np.append(good, [0.5] * 50)
    verdict = gate("regression", classifier(), padded, more, np.append(bad, [0.5] * 50))
    assert verdict == gate("regression", classifier(), y, good, bad)


def test_a_candidate_that_answers_nan_on_the_holdout_is_refused(classifier, pair):
    y, good, _ = pair(27)
    good[3] = np.nan
    with pytest.raises(ModelMisbehaved, match="1 of 800 scores are not finite"):
        run(classifier(), y, good, None, {}, train=(y, y), edge_scores=np.array([0.5]), seed=1)


def test_a_good_first_version_passes_every_gate_and_a_bad_successor_does_not(classifier, pair):
    y, good, bad = pair(28)
    halves = {"sex=F": np.arange(800) % 2 == 0, "sex=M": np.arange(800) % 2 == 1}
    edge = np.array([0.01, 0.99])
    first = run(classifier(), y, good, None, halves, train=(y, good), edge_scores=edge, seed=1)
    second = run(classifier(), y, bad, good, halves, train=(y, bad), edge_scores=edge, seed=1)
    assert overall(first) is PROMOTE
    assert overall(second) is HOLD
