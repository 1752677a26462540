"""Rows of numbers as named features and as cases."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.gateway.conftest import RISK

from medtower.domain.contract import Contract
from medtower.domain.text_hashing import Buckets
from medtower.errors import FeatureInvalid
from medtower.gateway.answering.case import encoded
from medtower.gateway.v2.rows import cases, features
from medtower.gateway.v2.types import Number, Question
from medtower.serving.pseudonym import pseudonym

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ROW = (70.5, 1.0, 3.0, 1.0, None)


def contract(**changes: Any) -> Contract:
    return Contract.model_validate(RISK | changes)


def question(*rows: Sequence[Number], subject: str | None = None, id: str = "r") -> Question:
    return Question(id=id, chosen_id=True, rows=rows, subject_id=subject)


def test_numbers_become_what_the_contract_calls_them() -> None:
    named = {"age": 70.5, "sex": "M", "visits": 3.0, "smoker": True, "marker": None}
    assert features(contract(), ROW) == named
    assert features(contract(), (*ROW[:4], math.nan)) == named


@pytest.mark.parametrize("index", [-1, 2, 0.5, math.inf, 1e30])
def test_an_index_without_a_category_is_refused_by_name(index: float) -> None:
    with pytest.raises(FeatureInvalid, match=r"^sex: must be one of 0 \(F\), 1 \(M\)$"):
        features(contract(), (70.5, index, *ROW[2:]))


@pytest.mark.parametrize("number", [0.5, 2, -1, math.inf])
def test_a_truth_value_is_0_or_1(number: float) -> None:
    with pytest.raises(FeatureInvalid, match=r"^smoker: must be 0 or 1$"):
        features(contract(), (*ROW[:3], number, None))


def test_a_bound_that_32_bits_rounded_outwards_is_the_bound() -> None:
    inputs = [RISK["inputs"][0] | {"range": [0.1, 0.7]}, *RISK["inputs"][1:]]
    narrow = contract(inputs=inputs)
    low, high = array("f", [0.1])[0], array("f", [0.7])[0]
    assert low > 0.1
    assert high < 0.7
    inputs[0] = inputs[0] | {"range": [low + 1e-9, 0.3]}
    narrow = contract(inputs=inputs)
    rounded = array("f", [low + 1e-9])[0]
    assert rounded < low + 1e-9
    assert features(narrow, (rounded, *ROW[1:]))["age"] == low + 1e-9
    assert features(narrow, (array("f", [0.3])[0], *ROW[1:]))["age"] == 0.3
    assert features(narrow, (0.31, *ROW[1:]))["age"] == 0.31


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_infinity_is_no_bound_even_where_the_bound_is_beyond_32_bits(number: float) -> None:
    case = cases(b"key", contract(), question((*ROW[:4], number)), NOW)[0]
    with pytest.raises(FeatureInvalid, match="marker: must be a finite number"):
        encoded(contract(), case.question)


def test_one_row_has_the_request_id_and_several_have_their_number_added() -> None:
    assert [c.question.request_id for c in cases(b"key", contract(), question(ROW), NOW)] == ["r"]
    several = cases(b"key", contract(), question(ROW, ROW), NOW)
    assert [c.question.request_id for c in several] == ["r.0", "r.1"]


def test_the_subject_is_the_patient_or_the_request_itself() -> None:
    named = cases(b"key", contract(), question(ROW, subject="s"), NOW)[0]
    assert named.subject == pseudonym(b"key", "s")
    unnamed = cases(b"key", contract(), question(ROW, ROW), NOW)
    assert {c.subject for c in unnamed} == {pseudonym(b"key", "r")}


def test_the_same_numbers_for_the_same_subject_are_the_same_question_however_they_came() -> None:
    def sha(*rows: Sequence[Number], subject: str | None = None) -> str:
        return cases(b"key", contract(), question(*rows, subject=subject), NOW)[0].body_sha256

    assert sha(ROW) == sha((*ROW[:4], math.nan))
    assert sha((70.1, *ROW[1:])) == sha((array("f", [70.1])[0], *ROW[1:]))
    assert sha(ROW) != sha((*ROW[:4], 0.0))
    assert sha(ROW) != sha(ROW, subject="s")


def test_a_row_with_a_gap_and_one_without_name_their_features_alike() -> None:
    known = contract(inputs=[*RISK["inputs"][:4], RISK["inputs"][4] | {"range": [0, 500]}])
    whole, gap = (
        cases(b"key", known, question((70.5, 1.0, 3.0, 1.0, last), subject="s"), NOW)[0].question
        for last in (2.5, None)
    )
    assert (whole.known is not None, gap.known is not None) == (True, False)  # the short way and the long one
    assert whole.features == {"age": 70.5, "sex": "M", "visits": 3, "smoker": True, "marker": 2.5}
    assert gap.features == {**whole.features, "marker": None}
    kinds = [[type(value) for value in list(asked.features.values())[:4]] for asked in (whole, gap)]
    assert kinds[0] == kinds[1] == [float, str, float, bool]


def test_whole_numbers_are_the_same_question_however_they_came() -> None:
    plain = contract(inputs=[RISK["inputs"][0], RISK["inputs"][2]])
    asked = [cases(b"key", plain, question(row, subject="s"), NOW)[0] for row in ((70, 3), (70.0, 3.0))]
    assert all(case.question.known for case in asked)
    assert asked[0].body_sha256 == asked[1].body_sha256
    assert asked[0].question.features == asked[1].question.features == {"age": 70, "visits": 3}


def test_a_row_that_breaks_the_contract_is_named_before_any_is_asked() -> None:
    with pytest.raises(FeatureInvalid) as refused:
        cases(b"key", contract(), question(ROW, ROW, (*ROW[:2], 3.5, *ROW[3:])), NOW)
    assert (refused.value.field, refused.value.rule) == ("row 2, visits", "must be a whole number")
    with pytest.raises(FeatureInvalid, match="row 1, sex"):
        cases(b"key", contract(), question(ROW, (70.5, 5.0, *ROW[2:])), NOW)


def test_an_id_leaves_room_for_the_numbers_of_the_rows() -> None:
    assert len(cases(b"key", contract(), question(ROW, id="r" * 100), NOW)) == 1
    assert len(cases(b"key", contract(), question(ROW, ROW, id="r" * 96), NOW)) == 2
    with pytest.raises(FeatureInvalid, match=r"^id: must be at most 96 characters"):
        cases(b"key", contract(), question(ROW, ROW, id="r" * 97), NOW)


TEXT = {
    "name": "note",
    "dtype": "text",
    "max_length": 100,
    "buckets": 2,
    "missing": "impute",
    "absent_means": "none",
}
SEQUENCE = {"name": "pulse", "dtype": "sequence", "unit": "/min", "range": [0.1, 250], "length": [1, 3]}
NAN = math.nan


def wide() -> Contract:
    return contract(inputs=[TEXT, RISK["inputs"][0], SEQUENCE])


def test_columns_become_texts_and_sequences() -> None:
    named = features(wide(), (0.6, -0.8, 70.0, 60.0, 61.0, NAN))
    assert named == {"note": (0.6, -0.8), "age": 70.0, "pulse": [60.0, 61.0]}
    assert isinstance(named["note"], Buckets)
    assert features(wide(), (None, NAN, 70.0, None, NAN, None)) == {"note": None, "age": 70.0, "pulse": None}
    assert features(wide(), (NAN, NAN, 70.0, array("f", [250])[0], 1.0, 2.0))["pulse"] == [250.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ((0.6, NAN, 70.0, 60.0, NAN, NAN), "note"),
        ((0.6, 1.5, 70.0, 60.0, NAN, NAN), "note"),
        ((0.6, -0.8, 70.0, NAN, 60.0, NAN), "pulse[0]"),
        ((0.6, -0.8, 70.0, 60.0, 251.0, NAN), "pulse[1]"),
        ((0.6, -0.8, 70.0, NAN, NAN, NAN), "pulse"),
    ],
)
def test_columns_that_are_no_text_or_sequence_are_refused_by_name(row: tuple[float, ...], field: str) -> None:
    case = cases(b"key", wide(), question(row), NOW)[0]
    with pytest.raises(FeatureInvalid) as refused:
        encoded(wide(), case.question)
    assert refused.value.field == field
