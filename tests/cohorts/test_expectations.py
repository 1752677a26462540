from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.cohorts.conftest import INPUTS, MODELS, contract_of, spec_of

from medtower.adapters.contracts import read, read_cohort
from medtower.cohorts.expectations import validate
from medtower.cohorts.load import arrivals, load, today
from medtower.domain.contract import Contract
from medtower.errors import CohortInvalid


@pytest.fixture
def frame(contract: Contract, folder: Path) -> pd.DataFrame:
    return load(contract, spec_of(), folder)


def problems(frame: pd.DataFrame, contract: Contract, **options: Any) -> str:
    with pytest.raises(CohortInvalid) as caught:
        validate(frame, contract, **options)
    return str(caught.value)


def test_a_sound_cohort_passes_and_says_what_was_checked(frame: pd.DataFrame, contract: Contract) -> None:
    passed = validate(frame, contract)
    assert {"name": "expect_column_values_to_be_between", "column": "age", "n": 400} in passed
    assert {"name": "no leakage of the target", "column": "creatinine", "n": 400} in passed
    assert {p["column"] for p in passed} >= {
        "age",
        "sex",
        "creatinine",
        "diabetes",
        "event_time",
        "subject_id",
    }


@pytest.mark.parametrize("name", ["mortality_5y", "alzheimer_risk", "als_risk", "parkinsons_severity"])
def test_the_first_models_cohorts_pass_before_and_after_the_shift(name: str) -> None:
    folder = MODELS / name
    contract, spec = read(folder), read_cohort(folder)
    for frame in (
        load(contract, spec, folder),
        arrivals(contract, spec, folder, n=600, seed=1),
        today(contract, spec, folder, n=600, seed=2),
    ):
        assert validate(frame, contract)


def test_missing_columns_are_all_named(frame: pd.DataFrame, contract: Contract) -> None:
    said = problems(frame.drop(columns=["age", "event_time"]), contract)
    assert "age: the column is missing" in said
    assert "event_time: the column is missing" in said


def test_a_wrong_type_is_named_without_its_values(frame: pd.DataFrame, contract: Contract) -> None:
    frame["age"] = "forty"
    frame["diabetes"] = "perhaps"
    said = problems(frame, contract)
    assert "age: wrong type, the contract says integer; give numbers" in said
    assert "diabetes: wrong type, the contract says boolean; give true or false" in said
    assert "forty" not in said


def test_a_column_without_any_value_is_refused_even_where_gaps_are_allowed(
    frame: pd.DataFrame, contract: Contract
) -> None:
    frame["creatinine"] = np.nan
    frame["age"] = np.nan
    said = problems(frame, contract)
    assert "creatinine: every value is missing" in said
    assert "age: has gaps" in said


def test_a_gap_in_a_required_input_is_refused_with_its_count(frame: pd.DataFrame, contract: Contract) -> None:
    frame.loc[[3, 4], "age"] = np.nan
    assert "age: has gaps and the contract says `missing: refuse`" in problems(frame, contract)
    assert "(2 rows)" in problems(frame, contract)


def test_another_unit_is_seen_by_the_range(frame: pd.DataFrame, contract: Contract) -> None:
    frame["creatinine"] *= 88.4
    assert (
        "creatinine: more than 1% of the values lie outside [0.1, 25] mg/dL; is it another unit?"
        in problems(frame, contract)
    )


def test_one_value_outside_is_refused_for_a_required_input_and_a_gap_for_another(
    frame: pd.DataFrame, contract: Contract
) -> None:
    frame.loc[0, "creatinine"] = 90.0
    assert validate(frame, contract)
    frame.loc[0, "age"] = 150.0
    said = problems(frame, contract)
    assert "age: some values lie outside [18, 110] a" in said
    assert "150" not in said


def test_a_border_value_in_single_precision_is_inside(frame: pd.DataFrame, contract: Contract) -> None:
    frame.loc[:9, "creatinine"] = float(np.float32(0.1)) - 1e-12
    assert validate(frame, contract)


def test_an_unknown_category_is_refused(frame: pd.DataFrame, contract: Contract) -> None:
    frame.loc[7, "sex"] = "X-secret"
    said = problems(frame, contract)
    assert "sex: holds categories that the contract does not list; add or recode them (1 rows)" in said
    assert "X-secret" not in said


def test_the_same_person_twice_at_one_moment_is_refused(frame: pd.DataFrame, contract: Contract) -> None:
    frame.loc[1, ["subject_id", "event_time"]] = frame.loc[0, ["subject_id", "event_time"]]
    said = problems(frame, contract)
    assert "the same person stands twice at one moment" in said
    assert "p0000" not in said


def test_an_event_without_time_is_refused(frame: pd.DataFrame, contract: Contract) -> None:
    frame.loc[5, "event_time"] = pd.NaT
    assert "event_time: is missing (1 rows)" in problems(frame, contract)
    assert "must be timestamps in UTC" in problems(frame.assign(event_time="2024"), contract)


def test_the_outcome_must_be_known_often_enough_and_in_both_classes(
    frame: pd.DataFrame, contract: Contract
) -> None:
    few = frame.copy()
    few.loc[50:, "outcome"] = np.nan
    assert "outcome: 50 rows have one and at least 200 are needed" in problems(few, contract)
    assert validate(few, contract, minimum=40)
    assert "only one class is there" in problems(frame.assign(outcome=1.0), contract)
    assert "must be 0 or 1" in problems(frame.assign(outcome=frame["outcome"] + 1), contract)
    assert "infinite" in problems(frame.assign(outcome=np.inf), contract)
    assert "must be a column of numbers" in problems(frame.assign(outcome="dead"), contract)
    assert "only one value" in problems(frame.assign(outcome=2.5), contract_of("regression"))


@pytest.mark.parametrize("make", [lambda y: y, lambda y: 100 - 3 * y])
def test_an_input_that_is_the_outcome_is_leakage(frame: pd.DataFrame, contract: Contract, make: Any) -> None:
    frame["creatinine"] = make(frame["outcome"] * 5 + 1) / 10
    said = problems(frame, contract)
    assert "creatinine: leakage of the target: creatinine alone tells the outcome (AUC ≥ 0.995)" in said
    assert "remove it from the contract" in said
    assert "age: leakage" not in said


def test_a_category_that_tells_the_outcome_is_leakage_whatever_its_order(folder: Path) -> None:
    ward = {"name": "ward", "dtype": "category", "categories": ["a", "b", "c"]}
    contract = contract_of(inputs=[*INPUTS, ward])
    frame = load(contract_of(), spec_of(), folder)
    frame["ward"] = np.where(frame["outcome"] == 1, "b", np.where(frame.index % 2, "a", "c"))
    assert "ward: leakage of the target" in problems(frame, contract)


def test_a_gap_that_tells_the_outcome_is_leakage(frame: pd.DataFrame, contract: Contract) -> None:
    frame["creatinine"] = frame["creatinine"].fillna(1.0).where(frame["outcome"] == 1)
    assert "creatinine being missing alone tells the outcome" in problems(frame, contract)


def test_a_regression_input_that_follows_the_outcome_is_leakage(frame: pd.DataFrame) -> None:
    random = np.random.default_rng(1)
    frame["outcome"] = random.normal(2, 0.3, len(frame))
    contract = contract_of("regression")
    assert validate(frame, contract)
    monotone = frame.assign(creatinine=np.exp(frame["outcome"]) / 10)
    assert "creatinine: leakage of the target" in problems(monotone, contract)
    assert "|Spearman's rho| ≥ 0.995" in problems(monotone, contract)


def test_a_strong_but_honest_input_is_no_leakage(frame: pd.DataFrame, contract: Contract) -> None:
    random = np.random.default_rng(1)
    frame["creatinine"] = np.clip(5 + 4 * frame["outcome"] + random.normal(0, 2, len(frame)), 0.2, 20)
    assert validate(frame, contract)


def test_nothing_is_left_behind_in_the_frame(frame: pd.DataFrame, contract: Contract) -> None:
    before = frame.copy()
    validate(frame, contract)
    pd.testing.assert_frame_equal(frame, before)
