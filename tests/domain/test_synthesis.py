from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtower.domain.condition import Result
from medtower.domain.contract_composition import Composition
from medtower.domain.synthesis import ANOTHER_ANSWERS, BELOW_FLOOR, NOT_IN_SYNTHESIS, synthesise, weighted

PART = st.sampled_from(["a", "b", "c", "own"])
SHARE = st.floats(0, 1, allow_subnormal=False)


def composition(synthesis: dict[str, Any]) -> Composition:
    parts = [{"name": name, "model": f"model_{name}"} for name in ("a", "b", "c")]
    return Composition.model_validate(
        {"parts": [*parts, {"name": "own", "model": "own"}], "synthesis": synthesis}
    )


@given(st.dictionaries(PART, SHARE, min_size=1))
def test_weights_sum_to_one_and_none_is_negative(confidences: dict[str, float]) -> None:
    weights = weighted(confidences)
    assert weights.keys() == confidences.keys()
    assert math.fsum(weights.values()) == pytest.approx(1, abs=1e-12)
    assert all(weight >= 0 for weight in weights.values())


@given(st.dictionaries(PART, st.builds(Result, SHARE, SHARE), min_size=1))
def test_a_weighted_answer_lies_among_what_was_said(results: dict[str, Result]) -> None:
    made = synthesise(composition({"kind": "confidence_weighted"}), results)
    assert made is not None
    said = [result.prediction for result in results.values()]
    assert min(said) <= made.value <= max(said)
    assert math.fsum(made.weights.values()) == pytest.approx(1, abs=1e-12)


def test_the_surer_part_weighs_more_in_proportion() -> None:
    made = synthesise(
        composition({"kind": "confidence_weighted", "parts": ["a", "b"]}),
        {"a": Result(0.2, 0.9), "b": Result(0.8, 0.6), "c": Result(0.5, 1.0)},
    )
    assert made is not None
    assert made.weights == pytest.approx({"a": 0.6, "b": 0.4})
    assert made.value == pytest.approx(0.6 * 0.2 + 0.4 * 0.8)
    assert made.why_not == {"c": NOT_IN_SYNTHESIS}


FIRST = {
    "kind": "first_confident",
    "order": [{"part": "a", "floor": 0.8}, {"part": "b", "floor": 0.7}, {"part": "own"}],
}


@pytest.mark.parametrize(
    ("confidences", "chosen", "why_not"),
    [
        (
            {"a": 0.8, "b": 0.9, "own": 0.5},
            "a",
            {"b": ANOTHER_ANSWERS, "own": ANOTHER_ANSWERS},
        ),
        ({"a": 0.79, "b": 0.7, "own": 0.5}, "b", {"a": BELOW_FLOOR, "own": ANOTHER_ANSWERS}),
        ({"a": 0.1, "b": 0.1, "own": 0.1}, "own", {"a": BELOW_FLOOR, "b": BELOW_FLOOR}),
        ({"a": 0.1, "b": 0.2}, "b", {"a": BELOW_FLOOR}),
        ({"a": 0.1, "c": 0.9}, "a", {"c": NOT_IN_SYNTHESIS}),
    ],
)
def test_the_first_that_is_sure_enough_answers_and_else_the_last_that_did(
    confidences: dict[str, float], chosen: str, why_not: dict[str, str]
) -> None:
    results = {name: Result(n / 10, confidence) for n, (name, confidence) in enumerate(confidences.items())}
    made = synthesise(composition(FIRST), results)
    assert made is not None
    assert made.weights == {chosen: 1.0}
    assert made.value == results[chosen].prediction
    assert made.why_not == why_not


def test_own_weights_answer_beside_what_is_shown() -> None:
    made = synthesise(composition({"kind": "own"}), {"a": Result(0.9, 0.9), "own": Result(0.2, 0.8)})
    assert made is not None
    assert (made.value, made.weights, made.why_not) == (0.2, {"own": 1.0}, {"a": NOT_IN_SYNTHESIS})


def test_without_any_part_of_the_synthesis_there_is_no_answer() -> None:
    assert synthesise(composition(FIRST), {"c": Result(0.9, 0.9)}) is None
