from __future__ import annotations

import math

import pytest

from medtower.domain.verdict import Decision
from medtower.errors import InvalidInput
from medtower.rollout.comparison import Comparison, decide

PROMOTE, HOLD, ROLLBACK = Decision.PROMOTE, Decision.HOLD, Decision.ROLLBACK
SHOWN_WORSE = (0.02, 0.005, 0.04)  # value, lower, upper, next to a margin of 0.01
SHOWN_WELL_BEYOND = (0.05, 0.02, 0.08)
WORSE_BUT_TOLERATED = (0.005, 0.001, 0.02)
BEYOND_BY_CHANCE = (0.02, -0.01, 0.05)
NOT_SHOWN = (0.001, -0.02, 0.02)
WITHIN = (0.001, -0.002, 0.009)
WORSE_AND_WITHIN = (0.005, 0.001, 0.009)
UNKNOWN = (None, -math.inf, math.inf)


@pytest.mark.parametrize(
    ("bounds", "required", "watched", "advisory"),
    [
        (SHOWN_WORSE, ROLLBACK, ROLLBACK, HOLD),
        (SHOWN_WELL_BEYOND, ROLLBACK, ROLLBACK, HOLD),
        (WORSE_BUT_TOLERATED, HOLD, PROMOTE, PROMOTE),
        (BEYOND_BY_CHANCE, HOLD, HOLD, HOLD),
        (NOT_SHOWN, HOLD, PROMOTE, PROMOTE),
        (WITHIN, PROMOTE, PROMOTE, PROMOTE),
        (WORSE_AND_WITHIN, PROMOTE, PROMOTE, PROMOTE),
        (UNKNOWN, HOLD, PROMOTE, PROMOTE),
    ],
)
def test_a_decision_follows_from_the_bounds_and_how_binding_the_test_is(bounds, required, watched, advisory):
    found = Comparison("rate", *bounds, margin=0.01)
    decided = {
        rule: decide("errors", found, rule, {}).decision for rule in ("required", "watched", "advisory")
    }
    assert decided == {"required": required, "watched": watched, "advisory": advisory}


@pytest.mark.parametrize("bounds", [WITHIN, NOT_SHOWN, BEYOND_BY_CHANCE])
def test_while_something_is_lacking_only_a_required_test_holds_and_all_say_what(bounds):
    found = Comparison("rate", *bounds, margin=0.01)
    required, watched = (
        decide("errors", found, rule, {}, lacking="too few") for rule in ("required", "watched")
    )
    assert (required.decision, required.reason) == (HOLD, "too few")
    assert (watched.decision, watched.reason) == (PROMOTE, "too few")


def test_what_is_shown_to_be_worse_does_not_wait_for_more_data():
    found = Comparison("rate", *SHOWN_WORSE, margin=0.01)
    assert decide("errors", found, "required", {}, lacking="too few").decision is ROLLBACK


def test_a_test_without_a_part_of_the_budget_may_only_advise():
    found = Comparison("rate", *WITHIN, margin=0.01)
    for rule in ("required", "watched"):
        with pytest.raises(InvalidInput, match="calibration may take a version back, so it needs a part"):
            decide("calibration", found, rule, {})
    assert decide("calibration", found, "advisory", {}).decision is PROMOTE


def test_a_ratio_is_as_good_at_one():
    assert not Comparison("ratio", 1.6, 0.9, 2.0, margin=1.5, equal=1.0).worse
    assert Comparison("ratio", 1.6, 1.1, 2.0, margin=1.5, equal=1.0).worse


def test_the_reason_tells_value_bounds_and_margin():
    verdict = decide("errors", Comparison("error rate", *SHOWN_WORSE, margin=0.01), "required", {})
    assert (
        verdict.reason
        == "worse than the incumbent: error rate 0.02 (at least 0.005, at most 0.04, margin 0.01)"
    )
    unknown = Comparison("error rate", *UNKNOWN, margin=0.01)
    assert "error rate not observed" in decide("errors", unknown, "required", {}).reason
    assert unknown.numbers == {"value": None, "lower": None, "upper": None, "margin": 0.01}
