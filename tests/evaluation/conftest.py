"""Contracts and cohorts for the evaluation's tests: factories, so that each test says what is special about its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medtower.domain.contract import Contract

LOOSE = {"target": 0.2, "warning": 0.1, "critical": 0.05}
TIGHT_ERROR = {"target": 5.0, "warning": 8.0, "critical": 10.0}
CLASSIFICATION = ("accuracy", "sensitivity", "specificity", "auc_roc", "precision", "f1")


@pytest.fixture
def classifier() -> Callable[..., Contract]:
    """`classifier(primary=..., kpis=..., output=..., **gates)`: a classification contract with lenient KPIs."""

    def make(primary: str = "auc_roc", kpis: Any = None, output: Any = None, **gates: Any) -> Contract:
        return Contract(
            name="some_risk",
            title="Some risk",
            task="classification",
            intended_use="tests",
            out_of_scope=["people"],
            owner="clinical@example.org",
            inputs=[{"name": "age", "dtype": "float", "unit": "a", "range": (18, 110)}],
            output={"name": "risk", "unit": "{probability}", "description": "risk", **(output or {})},
            kpis=kpis or dict.fromkeys(CLASSIFICATION, LOOSE),
            gates={"primary": primary, **gates},
        )

    return make


@pytest.fixture
def regressor() -> Callable[..., Contract]:
    """`regressor(primary=..., kpis=..., range=..., **gates)`: a regression contract with lenient KPIs."""

    def make(primary: str = "mae", kpis: Any = None, limits: Any = None, **gates: Any) -> Contract:
        return Contract(
            name="some_score",
            title="Some score",
            task="regression",
            intended_use="tests",
            out_of_scope=["people"],
            owner="clinical@example.org",
            inputs=[{"name": "age", "dtype": "float", "unit": "a", "range": (18, 110)}],
            output={"name": "score", "unit": "{score}", "description": "score", "range": limits},
            kpis=kpis or {"r2": LOOSE, "mae": TIGHT_ERROR, "mse": TIGHT_ERROR, "rmse": TIGHT_ERROR},
            gates={"primary": primary, **gates},
        )

    return make


@pytest.fixture
def patients() -> Callable[..., Any]:
    """`patients(n, seed)`: outcomes [n], the probabilities [n] they were drawn from (calibrated, AUC about 0.86), latent logits [n]."""

    def draw(n: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        latent = rng.normal(0, 2, n)
        probability = 1 / (1 + np.exp(-latent))
        return (rng.random(n) < probability).astype(float), probability, latent

    return draw
