from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from medtower.adapters.contracts import read, read_cohort
from medtower.cohorts.encode import encode, populations
from medtower.cohorts.expectations import validate
from medtower.cohorts.load import load, today
from medtower.domain.release import Release
from medtower.errors import CohortInvalid, Conflict, InvalidInput, NameInvalid
from medtower.workflows.new_model import scaffold

ROOT = Path(__file__).parents[2]


def kidney(n: int = 500, seed: int = 5) -> pd.DataFrame:
    """A made-up nephrology export that is none of the first models: free column names, gaps, a note, an identifier."""
    random = np.random.default_rng(seed)
    age = random.integers(21, 93, n)
    creatinine = np.round(random.lognormal(0.3, 0.5, n), 2)
    albumin = np.round(np.clip(random.normal(40, 5, n), 21.5, 55.5), 1)
    risk = 1 / (1 + np.exp(-(0.05 * (age - 60) + 1.5 * (creatinine - 1.6) - 0.1 * (albumin - 40))))
    table = pd.DataFrame(
        {
            "Patient": [f"K-{i:05d}" for i in range(n)],
            "Case No": np.arange(n) + 880_000,
            "sample_date": pd.date_range("2023-03-01", periods=n, freq="12h").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Age": age,
            "Creatinine mg/dL": creatinine,
            "albumin_g_l": albumin,
            "Diabetes": random.choice(["yes", "no"], n),
            "stage": random.choice(["G3a", "G3b", "G4"], n),
            "1st visit": random.integers(0, 2, n),
            "note": [f"free text {i}" for i in range(n)],
            "ward": "4B",
            "outcome": (random.random(n) < risk).astype(int),
        }
    )
    table.loc[::7, "albumin_g_l"] = np.nan
    return table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "exports" / "kidney.csv"
    path.parent.mkdir()
    kidney().to_csv(path, index=False)
    return path


def test_a_cohort_of_ones_own_goes_from_a_table_to_the_tensor(tmp_path: Path, table: Path) -> None:
    folder = scaffold(tmp_path / "triton_models", "kidney_decline", "classification", table)
    contract, spec = read(folder), read_cohort(folder)
    frame = load(contract, spec, folder)
    assert validate(frame, contract)
    features = encode(frame, contract)
    assert features.shape == (500, len(contract.inputs))
    assert np.isnan(features).sum() == 72  # the gaps of albumin and nothing else
    assert populations(frame, contract) == {}
    rehearsed = spec.model_copy(update={"rehearsal": spec.rehearsal.model_copy(update={"hold_back": 0.25})})
    assert len(today(contract, rehearsed, folder, n=30, seed=1)) == 30


def test_inputs_are_inferred_with_type_unit_and_gap(tmp_path: Path, table: Path) -> None:
    folder = scaffold(tmp_path, "kidney_decline", "classification", table)
    contract, spec = read(folder), read_cohort(folder)
    assert {i.name: (i.dtype, i.unit, i.missing) for i in contract.inputs} == {
        "age": ("integer", "a", "refuse"),
        "creatinine_mg_dl": ("float", "mg/dL", "refuse"),
        "albumin_g_l": ("float", "g/L", "impute"),
        "diabetes": ("boolean", "1", "refuse"),
        "stage": ("category", "1", "refuse"),
        "x_1st_visit": ("boolean", "1", "refuse"),
    }
    assert contract.input("stage").categories == ["G3a", "G3b", "G4"]
    assert (spec.subject, spec.time) == ("Patient", "sample_date")
    assert contract.output.threshold == round(float(kidney()["outcome"].mean()), 2)
    text = (folder / "model.yaml").read_text()
    assert '# left out: "note" is text with more than 20 different values' in text
    assert '# left out: "ward" has the same value in every row' in text
    assert '# left out: "Case No" is different in every row and looks like an identifier' in text


def test_ranges_hold_everybody_and_copy_nobodys_extreme(tmp_path: Path, table: Path) -> None:
    contract = read(scaffold(tmp_path, "kidney_decline", "classification", table))
    for name, column in {
        "age": "Age",
        "creatinine_mg_dl": "Creatinine mg/dL",
        "albumin_g_l": "albumin_g_l",
    }.items():
        bounds, values = contract.input(name).range, kidney()[column].dropna()
        assert bounds is not None
        assert bounds[0] < values.min() and values.max() < bounds[1]
        assert bounds[0] >= 0


def test_parquet_and_regression(tmp_path: Path) -> None:
    path = tmp_path / "kidney.parquet"
    table = (
        kidney().drop(columns=["outcome"]).assign(year=2024, delta=np.random.default_rng(1).normal(0, 5, 500))
    )
    table.drop(columns=["sample_date"]).to_parquet(path)
    folder = scaffold(tmp_path / "m", "egfr_slope", "regression", path)
    contract, spec = read(folder), read_cohort(folder)
    assert (contract.task, contract.gates.primary, spec.time) == ("regression", "r2", "year")
    assert load(contract, spec, folder)["outcome"].std() > 1


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_without_a_table_the_example_can_be_drawn(tmp_path: Path, task: str) -> None:
    folder = scaffold(tmp_path, "fresh_model", task, None)
    contract = read(folder)
    assert contract.task == task
    assert validate(load(contract, read_cohort(folder), folder), contract)


def test_the_release_is_that_of_no_version_and_no_text_asks_to_be_replaced(tmp_path: Path) -> None:
    folder = scaffold(tmp_path, "fresh_model", "classification", None)
    release = Release.model_validate(yaml.safe_load((folder / "release.yaml").read_text()))
    assert (release.model, release.version) == ("fresh_model", None)
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization["nameSuffix"] == "-fresh-model"
    for file in folder.iterdir():
        assert not any(
            word in file.read_text().upper() for word in ("CHANGE ME", "CHANGEME", "TODO", "FIXME")
        )


def test_the_first_models_have_the_same_kustomization_as_a_new_one(tmp_path: Path) -> None:
    models = ROOT / "triton_models"
    for name in ("mortality_5y", "alzheimer_risk", "als_risk", "parkinsons_severity"):
        made = scaffold(tmp_path, name, "classification", None) / "kustomization.yaml"
        assert (models / name / "kustomization.yaml").read_text() == made.read_text()


def test_a_folder_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    folder = scaffold(tmp_path, "fresh_model", "classification", None)
    (folder / "model.yaml").write_text("mine")
    with pytest.raises(Conflict, match="is there already"):
        scaffold(tmp_path, "fresh_model", "classification", None)
    assert (folder / "model.yaml").read_text() == "mine"


def test_two_at_once_end_in_one_folder_and_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_was_first(folder: Path) -> object:
        (tmp_path / "fresh_model").mkdir()
        (tmp_path / "fresh_model" / "model.yaml").write_text("theirs")
        return read_cohort(folder)

    monkeypatch.setattr("medtower.workflows.new_model.contracts.read_cohort", other_was_first)
    with pytest.raises(Conflict, match="made by somebody else"):
        scaffold(tmp_path, "fresh_model", "classification", None)
    assert [p.name for p in (tmp_path / "fresh_model").iterdir()] == ["model.yaml"]
    assert [p.name for p in tmp_path.iterdir()] == ["fresh_model"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": 3}, "no column holds an outcome, 0 and 1"),
        ({}, "a table is a .csv or a .parquet file"),
    ],
)
def test_a_table_that_is_no_cohort_leaves_nothing_behind(
    tmp_path: Path, change: dict[str, int], said: str
) -> None:
    path = tmp_path / ("kidney.csv" if change else "kidney.xlsx")
    kidney().drop(columns=["1st visit"]).assign(**change).to_csv(path, index=False)
    with pytest.raises(CohortInvalid, match=said):
        scaffold(tmp_path / "triton_models", "kidney_decline", "classification", path)
    assert not list((tmp_path / "triton_models").glob("*"))


def test_a_table_without_any_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kidney.csv"
    kidney()[["Patient", "ward", "note", "outcome"]].assign(empty=None).to_csv(path, index=False)
    with pytest.raises(CohortInvalid, match="no column can be an input: ward has the same value"):
        scaffold(tmp_path, "kidney_decline", "classification", path)


def test_a_name_or_a_task_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NameInvalid):
        scaffold(tmp_path, "../escape", "classification", None)
    with pytest.raises(
        InvalidInput, match="'survival' is not a task; write one of classification, regression"
    ):
        scaffold(tmp_path, "fresh_model", "survival", None)
    assert list(tmp_path.iterdir()) == []


def test_columns_with_the_same_spelling_become_different_inputs(tmp_path: Path) -> None:
    path = tmp_path / "kidney.csv"
    table = kidney()[["Age", "Diabetes", "outcome"]].assign(AGE=kidney()["Age"] + 1)
    table.to_csv(path, index=False)
    folder = scaffold(tmp_path, "kidney_decline", "classification", path)
    assert read(folder).input_names == ["age", "diabetes", "age_2"]
    assert read_cohort(folder).columns == {"age": "Age", "diabetes": "Diabetes", "age_2": "AGE"}


def test_the_trainer_in_the_guide_trains_and_exports(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medtower.training.export import export, parity
    from medtower.training.fit import fit

    guide = (ROOT / "docs" / "guides" / "your-own-model.md").read_text(encoding="utf-8")
    (tmp_path / "renal").mkdir()
    (tmp_path / "renal" / "trainer.py").write_text(guide.split("```python\n")[1].split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    folder = scaffold(tmp_path / "triton_models", "kidney_decline", "classification", table)
    text = (folder / "model.yaml").read_text()
    own = "  trainer: renal.trainer:fit\n  options: {epochs: 300}\n"
    (folder / "model.yaml").write_text(text.replace("  trainer: mlp\n", own))
    contract = read(folder)
    frame = load(contract, read_cohort(folder), folder)
    x, y = encode(frame, contract), frame["outcome"].to_numpy()
    module = fit(contract, x, y, seed=1)
    export(module, len(contract.inputs), tmp_path / "model.onnx")
    assert parity(module, tmp_path / "model.onnx", x, contract.gates.parity_tolerance) < 1e-4


def test_the_guides_yaml_is_valid(tmp_path: Path, table: Path) -> None:
    """Every yaml block of the guide fits into the scaffolded files at the place it shows."""
    guide = (ROOT / "docs" / "guides" / "your-own-model.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in guide.split("```yaml\n")[1:]]
    folder = scaffold(tmp_path, "kidney_decline", "classification", table)
    cohort = yaml.safe_load((folder / "cohort.yaml").read_text())
    for block in blocks:
        part = yaml.safe_load(block)
        if "training" not in part:
            part.get("columns", {}).pop(
                "creatinine", None
            )  # the scaffolded input is called after its own column
            (folder / "cohort.yaml").write_text(yaml.safe_dump(cohort | part))
            assert read_cohort(folder)
    assert len(blocks) == 5
