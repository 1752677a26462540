"""The table of verdicts: what promotes, what holds, what takes a version back, and that the words say why."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medtower.domain.rollout import IMMEDIATE
from medtower.domain.verdict import Decision, overall
from medtower.errors import InvalidInput
from medtower.rollout.budget import REVERTING
from medtower.rollout.observed import Arm
from medtower.rollout.verdict import judge

SHADOW, TENTH, HALF, LAST = range(4)
PROMOTE, HOLD, ROLLBACK = Decision.PROMOTE, Decision.HOLD, Decision.ROLLBACK


def decided(found):
    return overall(list(found.values()))


def other_than(found, decision):
    return {name for name, verdict in found.items() if verdict.decision is not decision}


def test_a_version_as_good_with_enough_patients_is_promoted_after_its_hours(arm, verdicts):
    found = verdicts(arm(1, 9000), arm(2, 1000))
    assert decided(found) is PROMOTE
    assert list(found) == [
        "traffic",
        "sample_ratio",
        "errors",
        "latency",
        "prediction_drift",
        "estimated_performance",
        "labelled_quality",
        "hold",
    ]
    assert {v.kind for v in found.values()} == {"rollout"}


def test_before_its_hours_are_over_a_stage_holds_and_says_how_long(arm, verdicts):
    found = verdicts(arm(1, 9000), arm(2, 1000), held=23.9)
    assert other_than(found, PROMOTE) == {"hold"}
    assert found["hold"].reason == "held for 23.9 h of 24 h"


def test_without_traffic_a_stage_holds_and_says_whose_is_missing(arm, verdicts):
    nothing = verdicts(arm(1, 0), arm(2, 0), held=1000)
    assert decided(nothing) is HOLD
    assert "no traffic" in nothing["traffic"].reason
    one_sided = verdicts(arm(1, 5000), arm(2, 0), held=1000)
    assert decided(one_sided) is HOLD
    assert "the candidate has scored nothing" in one_sided["traffic"].reason


def test_too_few_patients_hold_and_requests_of_the_same_patients_do_not_help(arm, verdicts):
    few = arm(2, 150)
    assert decided(verdicts(arm(1, 1350), few)) is HOLD
    again = Arm(2, *(np.repeat(column, 20) for column in (few.subjects, few.at, few.failed)),
                *(np.repeat(column, 20) for column in (few.latency_ms, few.prediction, few.outcome)))  # fmt: skip
    found = verdicts(arm(1, 1350), again)
    assert decided(found) is HOLD
    assert found["traffic"].reason == "150 patients in the smaller arm, 200 needed"
    assert found["traffic"].evidence["n candidate"] == 3000
    assert found["errors"].evidence["patients candidate"] == 150


def test_without_labels_it_says_so_and_goes_on_without_them(arm, verdicts):
    found = verdicts(arm(1, 9000), arm(2, 1000))["labelled_quality"]
    assert (found.decision, found.reason) == (PROMOTE, "no labels yet: label-free tests only")
    few = verdicts(arm(1, 9000, labelled=0.1), arm(2, 1000, labelled=0.1))["labelled_quality"]
    assert few.decision is PROMOTE
    assert "label-free tests only" in few.reason


def test_a_split_that_is_not_the_planned_one_holds_for_ever_however_good_the_numbers_are(arm, verdicts):
    found = verdicts(arm(1, 5000), arm(2, 1000), held=1000)
    assert other_than(found, PROMOTE) == {"sample_ratio"}
    assert "sample ratio mismatch" in found["sample_ratio"].reason
    assert found["sample_ratio"].evidence["planned share"] == 0.1


def test_who_is_in_both_arms_counts_where_he_was_first(arm, verdicts):
    candidate = arm(2, 1000)
    moved = Arm(1, candidate.subjects, candidate.at + 1, candidate.failed, candidate.latency_ms,
                candidate.prediction, candidate.outcome)  # fmt: skip
    found = verdicts(moved, candidate, stage=HALF)["sample_ratio"].evidence
    assert (found["patients candidate"], found["patients current"], found["patients in both"]) == (
        1000,
        0,
        1000,
    )


@pytest.mark.parametrize(
    ("harm", "test"),
    [
        ({"failing": 0.05}, "errors"),
        ({"slow": 2.0}, "latency"),
        ({"prediction": 0.9}, "prediction_drift"),
        ({"prediction": 0.1}, "prediction_drift"),
        ({"wrong": 0.4, "labelled": 1.0}, "labelled_quality"),
    ],
)
def test_a_planted_regression_is_taken_back_by_the_test_that_sees_it(arm, verdicts, harm, test):
    found = verdicts(arm(1, 9000, labelled=1.0), arm(2, 1000, **harm))
    assert decided(found) is ROLLBACK
    assert {name for name, v in found.items() if v.decision is ROLLBACK} == {test}
    assert found[test].evidence["lower"] > (1 if test == "latency" else 0)
    assert found[test].evidence["value"] > found[test].evidence["margin"]


def test_a_version_that_fails_everybody_is_taken_back_before_there_are_enough_patients_for_a_promotion(
    arm, verdicts
):
    found = verdicts(arm(1, 180), arm(2, 20, failing=1.0), held=0.1)
    assert found["errors"].decision is ROLLBACK
    assert found["traffic"].decision is HOLD


@pytest.mark.parametrize("harm", [{"failing": 0.01}, {"slow": 1.45}])
def test_harm_about_as_large_as_the_margin_is_not_promoted(arm, verdicts, harm):
    assert decided(verdicts(arm(1, 9000), arm(2, 1000, **harm))) is not PROMOTE


def test_a_version_that_is_better_is_promoted(arm, verdicts):
    better = arm(2, 1000, slow=0.5, wrong=0.05, labelled=1.0)
    assert decided(verdicts(arm(1, 9000, failing=0.02, labelled=1.0), better)) is PROMOTE


def test_harm_that_begins_on_the_second_day_among_the_same_patients_is_seen(arm, verdicts):
    def joined(first, second):
        columns = ("subjects", "at", "failed", "latency_ms", "prediction", "outcome")
        return Arm(
            first.version, *(np.concatenate([getattr(a, c) for a in (first, second)]) for c in columns)
        )

    day = 24 * 3600.0
    current = joined(arm(1, 900), arm(1, 900, start=day))
    for harm, test in [({"failing": 0.3}, "errors"), ({"slow": 3.0}, "latency")]:
        assert decided(verdicts(current, joined(arm(2, 100), arm(2, 100, start=day)))) is HOLD
        late = verdicts(current, joined(arm(2, 100), arm(2, 100, start=day, **harm)))
        assert late[test].decision is ROLLBACK


@pytest.mark.parametrize(("high", "low"), [(0.9, 0.6), (0.1, 0.4)])
def test_estimated_performance_holds_but_takes_nothing_back_and_gives_way_to_labels(arm, verdicts, high, low):
    sure, unsure = {"prediction": high}, {"prediction": low}
    found = verdicts(arm(1, 9000, **sure), arm(2, 1000, **unsure))["estimated_performance"]
    assert found.decision is HOLD
    assert found.evidence["value"] == pytest.approx(0.3)
    labelled = verdicts(arm(1, 9000, labelled=1.0, **sure), arm(2, 1000, labelled=1.0, **unsure))
    assert labelled["estimated_performance"].decision is PROMOTE
    assert decided(labelled) is PROMOTE


def test_labels_worse_than_the_margin_but_not_yet_shown_hold(arm, verdicts):
    found = verdicts(arm(1, 9000, labelled=1.0), arm(2, 1000, labelled=0.25, wrong=0.25))["labelled_quality"]
    assert found.decision is HOLD
    assert "not shown to be worse" in found.reason


@pytest.mark.parametrize(
    ("primary", "scores", "outcome", "lost"),
    [
        ("sensitivity", (0.2, 0.8), 1.0, 1.0),
        ("specificity", (0.8, 0.2), 0.0, 1.0),
        ("brier", (0.3, 0.7), 1.0, 0.49 - 0.09),
        ("auc_roc", (0.2, 0.8), 1.0, 1.0),
    ],
)
def test_labelled_quality_speaks_about_the_primary_metric(arm, verdicts, primary, scores, outcome, lost):
    def labelled(version, n, score):
        made = arm(version, n, prediction=score)
        return Arm(
            version,
            made.subjects,
            made.at,
            made.failed,
            made.latency_ms,
            made.prediction,
            np.full(n, outcome),
        )

    found = verdicts(labelled(1, 3000, scores[1]), labelled(2, 330, scores[0]), primary=primary)
    assert found["labelled_quality"].decision is ROLLBACK
    assert found["labelled_quality"].evidence["value"] == pytest.approx(lost)
    away = verdicts(labelled(1, 3000, scores[1]), arm(2, 330), primary=primary)["labelled_quality"]
    assert away.reason == "no labels yet: label-free tests only"


def test_a_label_that_comes_later_never_takes_the_place_of_one_that_was_counted(arm, verdicts):
    """Two requests a patient; the outcome of the second one comes first."""

    def asked_twice(version, n, *outcomes):
        made = arm(version, 2 * n, prediction=0.9)
        twice = np.tile(made.subjects[:n], 2)
        known = np.repeat(np.array(outcomes), n)
        return Arm(version, twice, made.at, made.failed, made.latency_ms, made.prediction, known)

    def counted(*outcomes):
        found = verdicts(asked_twice(1, 900, *outcomes), asked_twice(2, 900, *outcomes))["labelled_quality"]
        return found.evidence["patients candidate"], found.evidence["value"]

    assert counted(np.nan, 0.0) == (0, None)
    assert counted(1.0, np.nan) == counted(1.0, 0.0) == (900, 0.0)


def test_a_numbers_quality_is_its_absolute_error_in_the_unit_of_the_margin(arm, verdicts):
    def measured(version, n, off):
        made = arm(version, n, prediction=20.0 + off)
        return Arm(
            version, made.subjects, made.at, made.failed, made.latency_ms, made.prediction, np.full(n, 20.0)
        )

    given = {"task": "regression", "primary": "mae", "limits": (0.0, 40.0), "margins": {"quality": 2.0}}
    found = verdicts(measured(1, 9000, 1.0), measured(2, 1000, 7.0), **given)
    assert found["labelled_quality"].decision is ROLLBACK
    assert found["labelled_quality"].evidence["value"] == pytest.approx(6.0)
    assert found["prediction_drift"].evidence["value"] == pytest.approx(6 / 40)
    assert found["prediction_drift"].evidence["margin"] == pytest.approx(0.15 + 2 / 40)
    assert "carries no confidence" in found["estimated_performance"].reason
    as_good = verdicts(measured(1, 9000, 1.0), measured(2, 1000, -1.0), **given)
    assert as_good["labelled_quality"].evidence["value"] == pytest.approx(0.0)
    assert decided(as_good) is PROMOTE


def test_a_number_without_a_range_is_compared_by_service_alone_and_says_so(arm, verdicts):
    found = verdicts(arm(1, 9000), arm(2, 1000), task="regression", primary="mae")
    for name in ("prediction_drift", "labelled_quality"):
        assert found[name].reason == "not compared: the contract gives the output no range"
    assert decided(found) is PROMOTE


def test_the_shadow_is_judged_by_pairs_alone(arm, pairs, verdicts):
    found = verdicts(arm(1, 1500), arm(2, 0), stage=SHADOW, held=12, pairs=pairs(1500, apart=0.05))
    assert decided(found) is PROMOTE
    assert list(found) == [
        "traffic",
        "errors",
        "latency",
        "agreement",
        "estimated_performance",
        "labelled_quality",
        "hold",
    ]
    assert decided(verdicts(arm(1, 1500), arm(2, 0), stage=SHADOW, held=11, pairs=pairs(1500))) is HOLD
    assert decided(verdicts(arm(1, 1500), arm(2, 0), stage=SHADOW, held=12, pairs=pairs(0))) is HOLD
    assert decided(verdicts(arm(1, 1500), arm(2, 0), stage=SHADOW, held=12, pairs=pairs(150))) is HOLD


@pytest.mark.parametrize(
    ("harm", "test"),
    [({"apart": 0.4}, "agreement"), ({"failing": 0.1}, "errors"), ({"slow": 3.0}, "latency")],
)
def test_a_planted_regression_is_taken_back_in_the_shadow(arm, pairs, verdicts, harm, test):
    found = verdicts(arm(1, 1500), arm(2, 0), stage=SHADOW, held=1, pairs=pairs(1500, **harm))
    assert {name for name, v in found.items() if v.decision is ROLLBACK} == {test}


def test_in_the_shadow_a_candidate_that_fails_as_often_as_the_incumbent_is_not_worse(arm, pairs, verdicts):
    found = verdicts(arm(1, 3000, failing=0.05), arm(2, 0), stage=SHADOW, pairs=pairs(3000, failing=0.05))
    assert found["errors"].decision is not ROLLBACK


@pytest.mark.parametrize(
    ("limits", "primary", "quality", "further"),
    [((0.0, 10.0), "r2", 0.02, 0.2), ((0.0, 10.0), "mae", 0.5, 0.5), (None, "mae", 0.5, 0.4)],
)
def test_numbers_agree_within_the_tolerance(arm, pairs, verdicts, limits, primary, quality, further):
    given = pairs(1500)
    for factor, decision in [(0.9, PROMOTE), (1.1, ROLLBACK)]:
        both = type(given)(np.full(1500, 4.0), np.full(1500, 4.0 + factor * further), given.failed,
                           given.latency_ms, given.current_latency_ms, given.subjects)  # fmt: skip
        found = verdicts(arm(1, 1500), arm(2, 0), stage=SHADOW, pairs=both,
                         task="regression", primary=primary, limits=limits, margins={"quality": quality})  # fmt: skip
        assert found["agreement"].decision is decision


def test_at_the_last_stage_nothing_is_left_to_decide(arm, promise, verdicts):
    found = verdicts(arm(1, 900), arm(2, 900), stage=LAST, held=1000)
    assert decided(found) is HOLD
    immediate = judge(promise(), IMMEDIATE, 0, arm(1, 900), arm(2, 900), held_hours=1000)
    assert overall(immediate) is HOLD


@pytest.mark.parametrize(("stage", "says"), [(4, "not 4"), (-1, "not -1"), (SHADOW, "pairs")])
def test_a_stage_that_cannot_be_judged_is_refused(arm, verdicts, stage, says):
    with pytest.raises(InvalidInput, match=says):
        verdicts(arm(1, 10), arm(2, 10), stage=stage)


def test_the_evidence_is_plain_numbers_that_json_can_hold(arm, pairs, verdicts):
    empty = verdicts(arm(1, 0), arm(2, 0))
    small = verdicts(arm(1, 30, labelled=1.0), arm(2, 3, labelled=1.0))
    shadow = verdicts(arm(1, 30), arm(2, 0), stage=SHADOW, pairs=pairs(30))
    for found in (empty, small, shadow):
        for verdict in found.values():
            assert type(verdict).model_validate_json(verdict.model_dump_json()) == verdict
            json.dumps(verdict.evidence, allow_nan=False)
    assert {
        "n candidate",
        "patients candidate",
        "value",
        "lower",
        "upper",
        "margin",
        "alpha rollback",
    } <= set(small["errors"].evidence)


def test_a_version_as_good_is_hardly_ever_taken_back_and_never_promoted_too_early(arm, verdicts):
    taken = 0
    for seed in range(60):
        current, candidate = (
            arm(v, n, seed=seed, failing=0.02, labelled=0.5, hours=36) for v, n in [(1, 1800), (2, 200)]
        )
        for hours in (1, 3, 8, 16, 23, 36):
            seen = [_until(a, hours * 3600) for a in (current, candidate)]
            found = verdicts(*seen, held=hours)
            taken += decided(found) is ROLLBACK
            if hours < 24 or len(seen[1]) < 200:
                assert decided(found) is not PROMOTE
    assert taken <= 1


def _until(whole: Arm, seconds: float) -> Arm:
    n = int(np.searchsorted(whole.seconds, seconds))
    rows = (whole.subjects, whole.at, whole.failed, whole.latency_ms, whole.prediction, whole.outcome)
    return Arm(whole.version, *(column[:n] for column in rows))


def test_only_the_tests_that_have_a_part_of_the_budget_take_a_version_back(arm, pairs, verdicts):
    worst = {"failing": 0.4, "slow": 5.0, "prediction": 0.99, "labelled": 1.0, "wrong": 0.9}
    canary = verdicts(arm(1, 9000, labelled=1.0, prediction=0.01, wrong=0.0), arm(2, 1000, **worst))
    shadow = verdicts(
        arm(1, 2000), arm(2, 0), stage=SHADOW, pairs=pairs(2000, failing=0.4, slow=5.0, apart=0.9)
    )
    reverting = {name for found in (canary, shadow) for name, v in found.items() if v.decision is ROLLBACK}
    assert reverting == set(REVERTING)


def test_what_was_observed_lies_between_its_bounds_whichever_way_it_goes(arm, pairs, verdicts):
    number = {"task": "regression", "primary": "mae", "limits": (0.0, 1.0), "margins": {"quality": 0.1}}
    wide = {**number, "limits": (-20.0, 20.0)}
    for score in (0.05, 0.4, 0.6, 0.95):
        candidate = arm(2, 1000, prediction=score, labelled=1.0, failing=0.02, slow=0.8)
        unlabelled = arm(2, 1000, prediction=score)
        looks = [
            verdicts(arm(1, 9000, labelled=1.0), c, **k)
            for c in (candidate, unlabelled)
            for k in ({}, number, wide)
        ]
        both = pairs(800)
        moved = type(both)(both.current, np.full(800, score), both.failed, both.latency_ms, both.latency_ms)
        looks.append(verdicts(arm(1, 800), arm(2, 0), stage=SHADOW, pairs=moved))
        for verdict in (v for found in looks for v in found.values() if v.evidence.get("value") is not None):
            numbers = verdict.evidence
            if "upper" not in numbers:
                continue
            assert numbers["lower"] <= numbers["value"] <= numbers["upper"], verdict
            assert numbers["upper"] - numbers["lower"] < (40 if numbers["margin"] > 0.2 else 2)


def test_a_latency_that_is_high_by_chance_holds(arm, verdicts):
    few = arm(2, 25)
    few.latency_ms[:] = np.where(np.arange(25) % 4, 15.0, 90.0)
    found = verdicts(arm(1, 9000), few)["latency"]
    assert found.evidence["value"] > 1.5
    assert 0 < found.evidence["lower"] < 1
    assert found.decision is HOLD
