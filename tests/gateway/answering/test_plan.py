"""The short way from a question to its row says what the long way says, or nothing."""

from __future__ import annotations

import math
from array import array
from typing import Any

import pytest
from tests.gateway.conftest import RISK, SCORE

from medtower.domain.contract import Contract
from medtower.domain.inference import encode
from medtower.gateway.answering.plan import plain_row, plan_of

AGE = {"name": "age", "dtype": "float", "unit": "a", "range": [18, 110]}
VISITS = {"name": "visits", "dtype": "integer", "unit": "{count}", "range": [0, 100]}
CRP = {"name": "crp", "dtype": "float", "unit": "mg/L", "range": [-0.5, 500]}
SEX = {"name": "sex", "dtype": "category", "categories": ["F", "M", "X"]}
SMOKER = {"name": "smoker", "dtype": "boolean"}
PLAIN = Contract.model_validate(SCORE | {"inputs": [AGE, SEX, VISITS, CRP, SMOKER]})
FEATURES: dict[str, Any] = {"crp": 3.25, "smoker": True, "age": 70.1, "visits": 3, "sex": "M"}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"age": 70},
        {"age": 18, "visits": 0, "crp": -0.5},
        {"age": 110.0, "visits": 100, "crp": 500},
        {"crp": -0.0},
        {"visits": 3.0},
        {"sex": "F", "smoker": False},
        {"sex": "X"},
    ],
)
def test_a_question_of_plain_numbers_becomes_the_row_that_the_general_encoding_makes(
    change: dict[str, Any],
) -> None:
    features = FEATURES | change
    row = plain_row(PLAIN, features)
    assert row is not None
    assert row.tobytes() == array("f", encode(PLAIN, features)).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"age": None},
        {"age": math.nan},
        {"age": math.inf},
        {"age": -math.inf},
        {"age": 17.9},
        {"age": 110.1},
        {"age": True},
        {"age": "70"},
        {"age": [70]},
        {"age": 10**400},
        {"visits": 3.5},
        {"visits": True},
        {"visits": -1},
        {"visits": 101},
        {"sex": None},
        {"sex": "Y"},
        {"sex": 1},
        {"sex": True},
        {"sex": ["M"]},
        {"smoker": None},
        {"smoker": 1},
        {"smoker": "true"},
        {"more": 1},
    ],
)
def test_what_is_not_plain_is_left_to_the_general_encoding(change: dict[str, Any]) -> None:
    assert plain_row(PLAIN, FEATURES | change) is None


def test_another_name_or_one_too_few_is_not_plain() -> None:
    fewer = {name: value for name, value in FEATURES.items() if name != "age"}
    assert plain_row(PLAIN, fewer) is None
    assert plain_row(PLAIN, fewer | {"Age": 70.1}) is None


@pytest.mark.parametrize(
    "row",
    [
        [70.1, 3, 3, 3.25, 1],
        [70.1, 0.5, 3, 3.25, 1],
        [70.1, 1, 3, 3.25, 0.5],
        [70.1, 1, 3, 3.25, 2],
        [70.1, -1, 3, 3.25, 1],
        [70.1, 1, 3, math.nan, 1],
        [70.1, 1, 3, 3.25],
    ],
)
def test_numbers_that_stand_for_no_category_or_truth_value_are_not_plain(row: list[float]) -> None:
    assert plan_of(PLAIN).row(row) is None


def test_a_plain_row_stands_for_the_features_that_it_was_made_of() -> None:
    row = plain_row(PLAIN, FEATURES)
    assert row is not None
    named = plan_of(PLAIN).named([70.1, *row.tolist()[1:]])
    assert named == FEATURES
    assert (type(named["smoker"]), type(named["sex"])) == (bool, str)


@pytest.mark.parametrize(
    "inputs",
    [
        RISK["inputs"],
        [AGE, {"name": "note", "dtype": "text", "max_length": 100, "buckets": 16}],
        [AGE, {"name": "pulse", "dtype": "sequence", "unit": "/min", "range": [20, 250], "length": [1, 4]}],
    ],
    ids=["a range beyond 32 bits", "a text", "a sequence"],
)
def test_a_contract_of_other_inputs_has_no_plain_row(inputs: list[dict[str, Any]]) -> None:
    contract = Contract.model_validate(SCORE | {"inputs": inputs})
    assert plan_of(contract).names == ()
    assert plain_row(contract, {}) is None
    assert plain_row(contract, {"age": 70}) is None
    assert plan_of(contract).row([70.0, 1.0]) is None
