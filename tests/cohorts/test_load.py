from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.cohorts.conftest import MODELS, clinic, contract_of, spec_of

from medtower.adapters.contracts import read, read_cohort
from medtower.cohorts.load import arrivals, load, today
from medtower.domain.contract import Contract
from medtower.errors import CohortInvalid

FLCHAIN = MODELS / "mortality_5y"


def write(folder: Path, table: pd.DataFrame) -> None:
    table.to_csv(folder / "cohort.csv", index=False)


def test_a_table_becomes_typed_columns_in_the_order_of_time(contract: Contract, folder: Path) -> None:
    write(folder, clinic().sample(frac=1, random_state=1))
    frame = load(contract, spec_of(), folder)
    assert list(frame.columns) == [
        "age",
        "sex",
        "creatinine",
        "diabetes",
        "subject_id",
        "event_time",
        "outcome",
    ]
    assert frame["age"].dtype == np.float64
    assert frame["diabetes"].map(type).eq(bool).all()
    assert str(frame["event_time"].dtype) == "datetime64[ns, UTC]"
    assert frame["event_time"].is_monotonic_increasing
    assert frame["subject_id"].tolist() == clinic()["person"].tolist()
    assert frame["creatinine"].isna().sum() == 45


def test_columns_are_mapped_to_inputs(contract: Contract, folder: Path) -> None:
    write(folder, clinic().rename(columns={"creatinine": "Krea (mg/dl)"}))
    frame = load(contract, spec_of(columns={"creatinine": "Krea (mg/dl)"}), folder)
    assert frame["creatinine"].notna().any()


def test_every_missing_column_is_named_at_once(contract: Contract, folder: Path) -> None:
    write(folder, clinic().drop(columns=["age", "sex"]))
    with pytest.raises(
        CohortInvalid, match=r"(?s)age: the column is missing, the input age needs it.*sex: the column"
    ) as caught:
        load(contract, spec_of(), folder)
    assert len(caught.value.problems) == 2


def test_a_wrong_type_names_the_column_and_the_count_but_no_value(contract: Contract, folder: Path) -> None:
    table = clinic().astype({"age": object})
    table.loc[3, "age"] = "secret-value"
    table["diabetes"] = "perhaps"
    write(folder, table)
    with pytest.raises(CohortInvalid) as caught:
        load(contract, spec_of(), folder)
    assert "age: 1 of 400 values are not finite numbers" in str(caught.value)
    assert "diabetes: 400 of 400 values are neither true/false" in str(caught.value)
    assert "secret-value" not in str(caught.value)
    assert "perhaps" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age", 40.5, "age: 400 values are not whole numbers"),
        ("age", np.inf, "age: 400 of 400 values are not finite"),
        ("seen", "yesterday", "seen: 400 of 400 values are not ISO 8601"),
        ("seen", 12.5, "seen: numbers as times must be years"),
        ("person", None, "person: 400 rows have no subject"),
        ("outcome", 2, "outcome: the outcome of a classification is 0 or 1"),
    ],
)
def test_a_column_that_is_not_what_it_says_is_refused(
    contract: Contract, folder: Path, column: str, value: object, said: str
) -> None:
    write(folder, clinic().assign(**{column: value}))
    with pytest.raises(CohortInvalid, match=said):
        load(contract, spec_of(), folder)


def test_dates_are_no_numbers(contract: Contract, folder: Path) -> None:
    table = clinic()
    table["age"] = pd.to_datetime("2020-01-01")
    table.to_parquet(folder / "cohort.parquet")
    with pytest.raises(CohortInvalid, match="age: holds dates where numbers are expected"):
        load(contract, spec_of(source={"kind": "parquet", "path": "cohort.parquet"}), folder)


def test_an_empty_table_is_refused(contract: Contract, folder: Path) -> None:
    write(folder, clinic().head(0))
    with pytest.raises(CohortInvalid, match="the table has no rows"):
        load(contract, spec_of(), folder)


def test_a_table_without_a_label_is_refused(contract: Contract, folder: Path) -> None:
    with pytest.raises(CohortInvalid, match="has no `label:`"):
        load(contract, spec_of(label=None), folder)


def test_without_time_and_subject_rows_are_ordered_by_a_hash(contract: Contract, folder: Path) -> None:
    frame = load(contract, spec_of(time=None, subject=None), folder)
    assert frame["event_time"].dt.year.unique().tolist() == [2000]
    assert frame["subject_id"].is_unique
    assert frame["subject_id"].tolist() != sorted(frame["subject_id"])


def test_a_category_of_codes_keeps_whole_numbers_and_gaps(folder: Path) -> None:
    sex = {
        "name": "sex",
        "dtype": "category",
        "categories": ["1", "2"],
        "missing": "impute",
        "absent_means": "unknown",
    }
    contract = contract_of(inputs=[sex], populations=[])
    table = clinic()
    table["sex"] = np.where(table.index % 2, 1.0, np.nan)
    write(folder, table)
    assert set(load(contract, spec_of(), folder)["sex"]) == {"1", None}


def test_arrivals_of_a_table_are_held_back_from_training_and_come_in_time(
    contract: Contract, folder: Path
) -> None:
    spec = spec_of(rehearsal={"hold_back": 0.25})
    frame = load(contract, spec, folder)
    assert len(frame) == 300
    coming = arrivals(contract, spec, folder, n=50, seed=3)
    assert coming["event_time"].min() >= frame["event_time"].max()
    assert coming["event_time"].is_monotonic_increasing
    assert coming["subject_id"].is_unique
    assert not set(coming["subject_id"]) & set(frame["subject_id"])
    pd.testing.assert_frame_equal(coming, arrivals(contract, spec, folder, n=50, seed=3))


def test_without_holding_back_all_train_and_nobody_is_left_to_replay(
    contract: Contract, folder: Path
) -> None:
    assert len(load(contract, spec_of(), folder)) == 400
    with pytest.raises(CohortInvalid, match=r"hold_back is 0.*set 0\.25"):
        arrivals(contract, spec_of(), folder, n=5, seed=1)


def test_more_arrivals_than_people_come_as_other_subjects(contract: Contract, folder: Path) -> None:
    coming = arrivals(contract, spec_of(rehearsal={"hold_back": 0.25}), folder, n=500, seed=3)
    assert len(coming) == 500
    assert coming["subject_id"].is_unique


def test_nobody_arrives_when_the_held_back_part_has_no_outcome(contract: Contract, folder: Path) -> None:
    table = clinic().astype({"outcome": float})
    table.loc[200:, "outcome"] = None
    write(folder, table)
    with pytest.raises(CohortInvalid, match="nobody in it has one"):
        arrivals(contract, spec_of(rehearsal={"hold_back": 0.25}), folder, n=5, seed=1)


def test_today_of_a_table_is_measured_differently_and_stays_in_range(
    contract: Contract, folder: Path
) -> None:
    shift = [{"input": "creatinine", "factor": 88.4}]
    spec = spec_of(rehearsal={"hold_back": 0.25, "shift_last_days": 7, "shifts": shift})
    values = today(contract, spec, folder, n=80, seed=3)["creatinine"].dropna()
    assert values.max() == 25
    assert len(values) > 50


def test_the_free_light_chain_study_has_its_7874_people_and_12_percent_deaths() -> None:
    spec = read_cohort(FLCHAIN)
    assert len(load(read(FLCHAIN), spec, FLCHAIN)) == int(7874 * 0.75)
    everybody = spec.model_copy(update={"rehearsal": spec.rehearsal.model_copy(update={"hold_back": 0.0})})
    frame = load(read(FLCHAIN), everybody, FLCHAIN)
    assert len(frame) == 7874
    assert int(frame["outcome"].isna().sum()) == 195
    assert float(frame["outcome"].mean()) == pytest.approx(935 / 7679)
    assert float(frame["creatinine"].isna().mean()) == pytest.approx(0.171, abs=1e-3)
    assert set(frame["event_time"].dt.year) == set(range(1995, 2004))


def test_the_order_of_the_study_in_time_does_not_follow_its_order_by_age() -> None:
    frame = load(read(FLCHAIN), read_cohort(FLCHAIN), FLCHAIN)
    within = frame[frame["event_time"].dt.year == 1996]
    assert abs(float(within["age"].corr(pd.Series(np.arange(len(within)), index=within.index)))) < 0.05
