"""Cohorts with free text and sequences: typed, checked, encoded as the gateway encodes them, and back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.domain.test_texts_and_sequences import AGE, GAP, NOTE, TRACE, contract_of

from medtower.adapters.cohort_fit import misfits
from medtower.cohorts.columns import sequences, typed
from medtower.cohorts.encode import decode, encode, fingerprint
from medtower.cohorts.expectations import validate
from medtower.domain import inference
from medtower.domain.cohort import CohortSpec
from medtower.errors import CohortInvalid

CONTRACT = contract_of(AGE, NOTE | GAP, TRACE | GAP)
WORDS = [
    "no",
    "mild",
    "severe",
    "fever",
    "cough",
    "pain",
    "since",
    "today",
    "5",
    "days",
    "übelkeit",
    "ＭＲＩ",
]


def frame_of(n: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(3)
    notes = [" ".join(random.choice(WORDS, random.integers(1, 6))) for _ in range(n)]
    traces = [tuple(np.round(random.uniform(0, 10, random.integers(2, 5)), 3).tolist()) for _ in range(n)]
    outcome = random.integers(0, 2, n).astype(np.float64)
    return pd.DataFrame(
        {
            "age": random.uniform(18, 110, n),
            "note": pd.Series([None if i % 9 == 0 else note for i, note in enumerate(notes)], dtype=object),
            "trace": pd.Series([None if i % 7 == 0 else t for i, t in enumerate(traces)], dtype=object),
            "subject_id": [f"s{i}" for i in range(n)],
            "event_time": pd.date_range("2025-01-01", periods=n, freq="h", tz="UTC"),
            "outcome": outcome,
        }
    )


def test_encoding_a_frame_equals_encoding_each_request() -> None:
    frame = frame_of()
    rows = frame[CONTRACT.input_names].to_dict("records")
    one_by_one = np.array([inference.encode(CONTRACT, row) for row in rows], dtype=np.float32)
    assert one_by_one.shape == (400, CONTRACT.width)
    np.testing.assert_array_equal(encode(frame, CONTRACT), one_by_one)


def test_decode_is_the_reverse_of_encode() -> None:
    frame = frame_of()
    features = encode(frame, CONTRACT)
    back = decode([[None if np.isnan(v) else float(v) for v in row] for row in features], CONTRACT)
    np.testing.assert_array_equal(encode(back, CONTRACT), features)
    assert [v and tuple(np.float32(v)) for v in frame["trace"]] == [v and tuple(v) for v in back["trace"]]
    rows = back[CONTRACT.input_names].to_dict("records")
    asked = np.array([inference.encode(CONTRACT, row) for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(asked, features)


def test_what_the_gateway_would_refuse_is_missing() -> None:
    frame = frame_of(4)
    frame["note"] = ["x" * 41, "no fever", "no fever", None]
    frame["trace"] = pd.Series([(1.0,), (1.0, 11.0), (1.0, np.inf), (1.0,) * 5], dtype=object)
    features = encode(frame, CONTRACT)
    assert np.isnan(features[[0, 3], 1:9]).all()
    assert not np.isnan(features[1:3, 1:9]).any()
    assert np.isnan(features[:, 9:]).all()


def test_the_fingerprint_depends_on_every_number_and_every_word() -> None:
    frame, other, words = frame_of(), frame_of(), frame_of()
    assert fingerprint(frame) == fingerprint(other.iloc[::-1])
    other.at[1, "trace"] = (*other.at[1, "trace"][:-1], 9.9)
    words.at[1, "note"] += "!"
    assert len({fingerprint(f) for f in (frame, other, words)}) == 3


@pytest.mark.parametrize("values", [["[1, 2.5]", None], [np.array([1, 2.5]), None], [[1, 2.5], np.nan]])
def test_lists_come_as_json_or_as_lists(values: list[object]) -> None:
    column = pd.Series(values, dtype=object, name="trace")
    assert sequences(column, "table").tolist() == [(1.0, 2.5), None]


@pytest.mark.parametrize(
    "value", ["[1, canary]", "canary", '["canary"]', "[1, null]", "[NaN]", "[true]", 5, '{"a": 1}']
)
def test_what_is_no_list_of_numbers_is_counted_and_not_shown(value: object) -> None:
    column = pd.Series([value, "[1]"], dtype=object, name="trace")
    with pytest.raises(CohortInvalid, match="1 of 2 values are not lists of finite numbers") as caught:
        typed(column, CONTRACT.input("trace"), "table")
    assert "canary" not in str(caught.value)


def test_a_good_cohort_passes_and_says_what_was_checked() -> None:
    passed = {(p["name"], p["column"]) for p in validate(frame_of(), CONTRACT)}
    for column in ("note.length", "trace.length", "trace.lowest", "trace.highest"):
        assert ("expect_column_values_to_be_between", column) in passed


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("note", "canary" * 20, "note: some have fewer than 0 or more than 40 characters"),
        ("trace", (1.0,), "trace: some have fewer than 2 or more than 4 numbers"),
        ("trace", [1.0], "trace: wrong type"),
        ("note", 5, "note: wrong type"),
    ],
)
def test_a_bad_cohort_is_refused_by_column_and_rule(column: str, value: object, message: str) -> None:
    frame = frame_of()
    for row in range(1, 50):
        frame.at[row, column] = value
    with pytest.raises(CohortInvalid) as caught:
        validate(frame, CONTRACT)
    assert message in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_text_or_a_sequence_that_tells_the_outcome_is_leakage() -> None:
    frame = frame_of()
    frame["note"] = ["died" if y else "lived" for y in frame["outcome"]]
    frame["trace"] = pd.Series([(y, 1.0) for y in frame["outcome"]], dtype=object)
    with pytest.raises(CohortInvalid) as caught:
        validate(frame, CONTRACT)
    told = [p for p in caught.value.problems if "leakage" in p]
    assert [p.split(":")[0] for p in told] == ["note", "trace"]


def test_a_synthetic_cohort_has_neither() -> None:
    drawn = {name: {"family": "normal", "parameters": [1, 1]} for name in ("age", "note", "trace")}
    source = {"kind": "synthetic", "size": 500, "seed": 1, "inputs": drawn, "coefficients": {"age": 1}}
    spec = CohortSpec.model_validate({"schema": "medtower/cohort/v1", "title": "t", "source": source})
    told = [what for _, what in misfits(CONTRACT, spec)]
    assert told == [
        f"a {kind} cannot be drawn at random; take the cohort from a table" for kind in ("text", "sequence")
    ]
