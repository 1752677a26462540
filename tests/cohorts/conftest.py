"""Contracts and cohorts of the tests in this folder: a small made-up kidney clinic, and the models of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.fixtures.postgres import postgres  # noqa: F401 - the fixture, for every test here

from medtower.domain.cohort import CohortSpec
from medtower.domain.contract import Contract

MODELS = Path(__file__).parents[2] / "triton_models"

INPUTS: list[dict[str, Any]] = [
    {"name": "age", "dtype": "integer", "unit": "a", "range": [18, 110]},
    {"name": "sex", "dtype": "category", "categories": ["F", "M"]},
    {
        "name": "creatinine",
        "dtype": "float",
        "unit": "mg/dL",
        "range": [0.1, 25],
        "missing": "impute",
        "absent_means": "not ordered",
    },
    {"name": "diabetes", "dtype": "boolean"},
]


def contract_of(task: str = "classification", **changes: Any) -> Contract:
    """The clinic's contract, with top-level parts replaced by `changes`."""
    metric = "auc_roc" if task == "classification" else "r2"
    parts: dict[str, Any] = {
        "schema": "medtower/contract/v1",
        "name": "kidney",
        "title": "Kidney",
        "task": task,
        "intended_use": "tests",
        "out_of_scope": ["everything else"],
        "owner": "owner@example.org",
        "inputs": INPUTS,
        "output": {"name": "risk", "unit": "1", "description": "risk"},
        "populations": [
            {"name": "sex", "input": "sex"},
            {"name": "age_band", "input": "age", "edges": [50, 70]},
            {"name": "diabetes", "input": "diabetes"},
        ],
        "kpis": {metric: {"target": 0.8, "warning": 0.7, "critical": 0.6}},
        "gates": {"primary": metric},
    }
    return Contract.model_validate(parts | changes)


def spec_of(**changes: Any) -> CohortSpec:
    """A cohort.yaml that reads `cohort.csv`, with top-level parts replaced by `changes`."""
    parts: dict[str, Any] = {
        "schema": "medtower/cohort/v1",
        "title": "clinic",
        "source": {"kind": "csv", "path": "cohort.csv"},
        "label": {"kind": "column", "column": "outcome"},
        "time": "seen",
        "subject": "person",
    }
    return CohortSpec.model_validate(parts | changes)


def clinic(n: int = 400, seed: int = 7) -> pd.DataFrame:
    """A made-up table with `n` rows, as a hospital would export it."""
    random = np.random.default_rng(seed)
    age = random.integers(30, 90, n)
    creatinine = np.round(random.lognormal(0.1, 0.4, n), 2)
    risk = 1 / (1 + np.exp(-(age - 60) / 10 - 2 * (creatinine - 1.2)))
    table = pd.DataFrame(
        {
            "person": [f"p{i:04d}" for i in range(n)],
            "seen": pd.date_range("2024-01-01", periods=n, freq="D").strftime("%Y-%m-%dT08:00:00Z"),
            "age": age,
            "sex": random.choice(["F", "M"], n),
            "creatinine": creatinine,
            "diabetes": random.choice(["yes", "no"], n),
            "outcome": (random.random(n) < risk).astype(int),
        }
    )
    table.loc[table.index % 9 == 0, "creatinine"] = None
    return table


@pytest.fixture
def contract() -> Contract:
    return contract_of()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the clinic's `cohort.csv`."""
    clinic().to_csv(tmp_path / "cohort.csv", index=False)
    return tmp_path
