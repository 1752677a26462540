"""A contract with one input of every kind, and windows drawn from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtower.domain.contract import Contract
from medtower.domain.drift import DriftFinding, DriftReport
from medtower.drift import engine

Floats = NDArray[np.float64]
GAP = {"missing": "impute", "absent_means": "not measured"}
INPUTS: list[dict[str, Any]] = [
    {"name": "age", "dtype": "integer", "unit": "a", "range": [18, 100]},
    {"name": "biomarker", "dtype": "float", "unit": "ng/L", "range": [0, 500], **GAP},
    {"name": "stage", "dtype": "category", "categories": ["none", "mild", "severe", "end"], **GAP},
    {"name": "smoker", "dtype": "boolean"},
]


def contract_of(inputs: list[dict[str, Any]] | None = None, **drift: Any) -> Contract:
    return Contract.model_validate(
        {
            "schema": "medtower/contract/v1",
            "name": "sample_risk",
            "title": "Sample <risk>",
            "task": "classification",
            "intended_use": "tests",
            "out_of_scope": ["anything else"],
            "owner": "clinical@example.org",
            "inputs": inputs or INPUTS,
            "output": {"name": "risk", "unit": "1", "description": "what is predicted"},
            "kpis": {"auc_roc": {"target": 0.9, "warning": 0.85, "critical": 0.8}},
            "gates": {"primary": "auc_roc"},
            "drift": drift,
        }
    )


def numbers(count: int) -> list[dict[str, Any]]:
    return [{"name": f"marker_{k}", "dtype": "float", "range": [-100, 100], **GAP} for k in range(count)]


def window(n: int, seed: int) -> Floats:
    """Rows [n, 4]; stage never takes the level `end`; 10 % of biomarker and stage are missing."""
    draw = np.random.default_rng(seed)
    x = np.column_stack(
        [draw.integers(40, 90, n), draw.gamma(4, 30, n), draw.integers(0, 3, n), draw.random(n) < 0.3]
    ).astype(np.float64)
    for column in (1, 2):
        x[draw.random(n) < 0.1, column] = np.nan
    return x


def report(
    contract: Contract, reference: Floats, current: Floats, *, shift: float = 0.0, seed: int = 99
) -> DriftReport:
    """The engine's report, with predictions drawn alike in both windows but for `shift`."""
    draw = np.random.default_rng(seed)
    return engine.run(
        contract,
        reference,
        current,
        reference_prediction=draw.random(len(reference)),
        current_prediction=draw.random(len(current)) + shift,
        version=3,
        window_start=datetime(2026, 1, 1, tzinfo=UTC),
        window_end=datetime(2026, 1, 8, tzinfo=UTC),
    )


def finding(report: DriftReport, feature: str) -> DriftFinding:
    return next(f for f in report.findings if f.feature == feature)
