"""Inputs that are several columns: free text and sequences, from the contract to the row."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError
from tests.gateway.conftest import RISK

from medtower.domain.contract import Contract
from medtower.domain.free_text import normalised
from medtower.domain.inference import encode
from medtower.domain.text_hashing import Buckets, bucket, hashed, terms
from medtower.errors import FeatureInvalid

NOTE: dict[str, Any] = {"name": "note", "dtype": "text", "max_length": 40, "buckets": 8}
TRACE: dict[str, Any] = {
    "name": "trace", "dtype": "sequence", "unit": "mm", "range": [0, 10], "length": [2, 4]
}  # fmt: skip
AGE: dict[str, Any] = RISK["inputs"][0]
GAP = {"missing": "impute", "absent_means": "nobody wrote one"}


def contract_of(*inputs: dict[str, Any]) -> Contract:
    return Contract.model_validate(RISK | {"inputs": list(inputs)})


def test_the_columns_of_each_input_stand_in_the_contracts_order() -> None:
    contract = contract_of(NOTE, AGE, TRACE)
    assert contract.width == 8 + 1 + 4
    assert contract.slices == [slice(0, 8), slice(8, 9), slice(9, 13)]
    assert [spec.column_name(k) for spec, k in contract.columns][7:10] == ["note[7]", "age", "trace[0]"]
    row = encode(contract, {"age": 50, "note": "no fever", "trace": [1, 2.5]})
    assert row[:8] == hashed("no fever", 8)
    assert row[8:11] == [50, 1, 2.5]
    assert all(map(math.isnan, row[11:]))


def test_a_text_is_its_words_and_pairs_of_words_signed_and_of_length_one() -> None:
    assert list(terms("No FEVER, no cough")) == [
        "no",
        "fever",
        "no fever",
        "no",
        "fever no",
        "cough",
        "no cough",
    ]
    expected = [0.0] * 16
    for term in terms("No FEVER, no cough"):
        place, sign = bucket(term, 16)
        expected[place] += sign
    norm = math.sqrt(sum(v * v for v in expected))
    assert hashed("No FEVER, no cough", 16) == [v / norm for v in expected]
    assert hashed("…", 4) == [0.0] * 4


def test_hashing_is_the_same_on_every_machine() -> None:
    assert [bucket(term, 1024) for term in ("fever", "no fever", "übelkeit")] == [
        (883, -1),
        (826, -1),
        (661, 1),
    ]


def test_signs_are_even_and_buckets_are_used_evenly() -> None:
    found = [bucket(f"term{i}", 16) for i in range(16_000)]
    assert abs(sum(sign for _, sign in found)) < 4 * math.sqrt(16_000)
    counts = [sum(place == k for place, _ in found) for k in range(16)]
    assert min(counts) > 850
    assert max(counts) < 1150


@pytest.mark.parametrize(
    "evasion", ["ｎｏ　ｆｅｖｅｒ", "no fe\u200bver", "NO\nfever", "no fe\u00adver", "no fe\ufe0fver"]
)
def test_what_looks_the_same_is_the_same(evasion: str) -> None:
    assert hashed(evasion, 64) == hashed("no fever", 64)


@pytest.mark.parametrize("text", ["\ud800x", "x\0", "x\u202e", "\ue000x"])
def test_normalised_text_has_nothing_that_cannot_be_kept(text: str) -> None:
    assert normalised(text) == "x"


@pytest.mark.parametrize(
    ("spec", "value", "field", "rule"),
    [
        (NOTE, "x" * 41, "note", "at most 40 characters"),
        (NOTE, 5, "note", "must be text"),
        (NOTE, ["x"], "note", "must be text"),
        (NOTE, None, "note", "is required"),
        (NOTE, Buckets([0.5] * 7), "note", "8 numbers"),
        (NOTE, Buckets([2.0] * 8), "note", "8 numbers"),
        (NOTE, Buckets([math.nan] * 8), "note", "8 numbers"),
        (TRACE, [1], "trace", "2 to 4 numbers"),
        (TRACE, [1, 2, 3, 4, 5], "trace", "2 to 4 numbers"),
        (TRACE, "1, 2", "trace", "must be a list"),
        (TRACE, {"0": 1}, "trace", "must be a list"),
        (TRACE, 7, "trace", "must be a list"),
        (TRACE, None, "trace", "is required"),
        (TRACE, [1, math.nan], "trace[1]", "finite"),
        (TRACE, [1, 2, math.inf], "trace[2]", "finite"),
        (TRACE, [1, 2, 3, 11], "trace[3]", r"[0, 10] mm"),
        (TRACE, [True, 2], "trace[0]", "must be a number"),
        (TRACE, [1, None], "trace[1]", "must be a number"),
        (TRACE, [1, "2"], "trace[1]", "must be a number"),
        (TRACE, [1, 10**400], "trace[1]", r"[0, 10] mm"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named_and_never_repeated(
    spec: dict[str, Any], value: Any, field: str, rule: str
) -> None:
    with pytest.raises(FeatureInvalid) as caught:
        encode(contract_of(spec), {spec["name"]: value})
    assert caught.value.field == field
    assert rule in caught.value.rule
    assert "xx" not in str(caught.value)


@pytest.mark.parametrize("spec", [NOTE, TRACE])
def test_a_gap_that_is_allowed_is_missing_in_every_column(spec: dict[str, Any]) -> None:
    row = encode(contract_of(spec | GAP), {})
    assert len(row) == contract_of(spec | GAP).width
    assert all(map(math.isnan, row))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (NOTE | {"buckets": None}, "needs `max_length:`"),
        (NOTE | {"max_length": None}, "needs `max_length:`"),
        (NOTE | {"max_length": 30_000}, "20000"),
        (NOTE | {"range": [0, 1]}, "a text has no `range:`"),
        (TRACE | {"length": None}, "needs `length:"),
        (TRACE | {"length": [3, 2]}, "1 ≤ least ≤ most"),
        (TRACE | {"length": [0, 2]}, "1 ≤ least ≤ most"),
        (TRACE | {"length": [1, 1]}, "2 ≤ most"),
        (TRACE | {"range": None}, "needs `range:"),
        (TRACE | {"buckets": 4}, "a sequence has no `buckets:`"),
        (AGE | {"length": [1, 2]}, "a float has no `length:`"),
    ],
)
def test_an_input_that_cannot_be_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        contract_of(spec)


def test_inputs_that_are_too_many_columns_together_are_refused() -> None:
    wide = [NOTE | {"name": f"note_{k}", "buckets": 1024} for k in range(5)]
    with pytest.raises(ValidationError, match="5120 columns together, at most 4096"):
        contract_of(*wide)


@pytest.mark.parametrize("spec", [NOTE, TRACE])
def test_people_are_not_split_by_a_text_or_a_sequence(spec: dict[str, Any]) -> None:
    population = {"name": "split", "input": spec["name"], "edges": [1]}
    with pytest.raises(ValidationError, match=f"cannot split by a {spec['dtype']}"):
        Contract.model_validate(RISK | {"inputs": [AGE, spec], "populations": [population]})
