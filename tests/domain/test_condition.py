from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medtower.domain.condition import DEEPEST, Condition, Result, met

FEATURES = {"age": 70.0, "sex": "F", "smoker": False, "marker": None}
RESULTS = {"screen": Result(prediction=0.3, confidence=0.7)}


def holds(**form: Any) -> bool:
    return met(Condition.model_validate(form), FEATURES, RESULTS)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"input": "age", "at_or_above": 70}, True),
        ({"input": "age", "above": 70}, False),
        ({"input": "age", "at_or_below": 70}, True),
        ({"input": "age", "below": 70}, False),
        ({"input": "age", "at_or_above": 65, "below": 75}, True),
        ({"input": "age", "at_or_above": 65, "below": 69}, False),
        ({"input": "sex", "one_of": ["F"]}, True),
        ({"input": "sex", "one_of": ["M"]}, False),
        ({"input": "smoker", "equals": False}, True),
        ({"input": "smoker", "equals": True}, False),
        ({"part": "screen", "below": 0.3}, False),
        ({"part": "screen", "at_or_below": 0.3}, True),
        ({"part": "screen", "of": "confidence", "at_or_above": 0.7}, True),
    ],
)
def test_a_comparison_holds_exactly_where_it_says(form: dict[str, Any], expected: bool) -> None:
    assert holds(**form) is expected


def test_a_comparison_with_what_is_not_there_is_not_met() -> None:
    assert not holds(input="marker", at_or_above=0)
    assert not holds(part="other", at_or_above=0)
    assert not holds(input="marker", given=True)
    assert holds(input="marker", given=False)
    assert holds(input="age", given=True)
    assert not holds(input="age", given=False)


def test_joined_conditions_hold_as_all_or_any_of_them_do() -> None:
    yes, no = {"input": "age", "above": 60}, {"input": "age", "above": 80}
    assert holds(all_of=[yes, yes])
    assert not holds(all_of=[yes, no])
    assert holds(any_of=[no, yes])
    assert not holds(any_of=[no, no])
    assert holds(all_of=[yes, {"any_of": [no, {"part": "screen", "above": 0.2}]}])


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "exactly one of"),
        ({"input": "age", "part": "screen", "below": 1}, "exactly one of"),
        ({"input": "age"}, "an input is compared by"),
        ({"part": "screen"}, "what a part said is compared by"),
        ({"part": "screen", "equals": True}, "what a part said is compared by"),
        ({"part": "screen", "of": "confidence", "below": 70}, "a number in [0, 1]"),
        ({"input": "age", "of": "confidence", "below": 1}, "`of:` goes with `part:`"),
        ({"input": "age", "given": False, "below": 1}, "`given: false` alone"),
        ({"input": "age", "one_of": ["F"], "below": 1}, "compare it as one of them"),
        ({"all_of": [{"input": "age", "below": 1}], "above": 3}, "compare nothing themselves"),
        ({"all_of": []}, "at least 1 item"),
        ({"input": "age", "expression": "age > 3"}, "Extra inputs are not permitted"),
        ({"input": "age", "below": float("inf")}, "finite number"),
    ],
)
def test_a_condition_that_says_nothing_or_two_things_is_refused(form: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Condition.model_validate(form)
    assert said in str(caught.value)


def test_conditions_are_joined_to_a_bounded_depth() -> None:
    form: dict[str, Any] = {"input": "age", "below": 1}
    for _ in range(DEEPEST - 1):
        form = {"all_of": [form]}
    Condition.model_validate(form)
    with pytest.raises(ValidationError, match="deep"):
        Condition.model_validate({"any_of": [form]})
