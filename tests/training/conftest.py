"""One small contract with every kind of input, and a synthetic signal that a model of it can learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from medtower.domain.contract import Contract

Floats = NDArray[np.float64]

INPUTS: list[dict[str, Any]] = [
    {"name": "age", "dtype": "integer", "unit": "a", "range": [18, 100]},
    {
        "name": "biomarker",
        "dtype": "float",
        "unit": "ng/L",
        "range": [0, 500],
        "missing": "impute",
        "absent_means": "not ordered",
    },
    {"name": "sex", "dtype": "category", "categories": ["F", "M"]},
    {
        "name": "stage",
        "dtype": "category",
        "categories": ["none", "mild", "severe"],
        "missing": "impute",
        "absent_means": "not staged",
    },
    {"name": "smoker", "dtype": "boolean", "missing": "impute", "absent_means": "not asked"},
]


def contract_of(task: str, *, bounds: tuple[float, float] | None = None, **training: Any) -> Contract:
    metric = "auc_roc" if task == "classification" else "r2"
    return Contract.model_validate(
        {
            "schema": "medtower/contract/v1",
            "name": "sample_risk",
            "title": "Sample",
            "task": task,
            "intended_use": "tests",
            "out_of_scope": ["anything else"],
            "owner": "clinical@example.org",
            "inputs": INPUTS,
            "output": {"name": "risk", "unit": "1", "description": "what is predicted", "range": bounds},
            "kpis": {metric: {"target": 0.9, "warning": 0.85, "critical": 0.8}},
            "gates": {"primary": metric},
            "training": training,
        }
    )


def rows(n: int, seed: int) -> Floats:
    draw = np.random.default_rng(seed)
    x = np.column_stack(
        [
            draw.integers(18, 101, n),
            draw.gamma(4.0, 30.0, n).clip(0, 500),
            draw.integers(0, 2, n),
            draw.integers(0, 3, n),
            draw.integers(0, 2, n),
        ]
    ).astype(np.float64)
    for column in (1, 3, 4):
        x[draw.random(n) < 0.15, column] = np.nan
    return x


def latent(x: Floats) -> Floats:
    stage, biomarker = np.nan_to_num(x[:, 3], nan=1.0), np.nan_to_num(x[:, 1], nan=120.0)
    return 1.5 * (x[:, 0] - 59) / 24 + 1.5 * (biomarker - 120) / 60 + 2.0 * (stage - 1) + 0.7 * x[:, 2] - 0.35


def outcomes(x: Floats, task: str, seed: int) -> Floats:
    draw = np.random.default_rng(seed)
    if task == "classification":
        return (draw.random(len(x)) < 1 / (1 + np.exp(-2 * latent(x)))).astype(np.float64)
    return 40 + 12 * latent(x) + draw.normal(0, 3, len(x))


@pytest.fixture
def classification() -> tuple[Contract, Floats, Floats]:
    x = rows(2000, seed=1)
    return contract_of("classification"), x, outcomes(x, "classification", seed=2)


@pytest.fixture
def regression() -> tuple[Contract, Floats, Floats]:
    x = rows(2000, seed=1)
    return contract_of("regression"), x, outcomes(x, "regression", seed=2)
