"""Contracts that compose, for tests: small, and changed by keyword."""

from __future__ import annotations

from typing import Any

from medtower.domain.contract import Contract

AGE = {"name": "age", "dtype": "float", "unit": "a", "range": [18, 110]}
SEX = {"name": "sex", "dtype": "category", "categories": ["F", "M"]}
SMOKER = {"name": "smoker", "dtype": "boolean"}
MARKER = {
    "name": "marker", "dtype": "float", "unit": "mg/L", "range": [0, 500],
    "missing": "impute", "absent_means": "it was not measured",
}  # fmt: skip
WEIGHTED = {"kind": "confidence_weighted"}
OWN = {"name": "own", "model": "own"}


def contract(
    name: str = "whole",
    inputs: list[dict[str, Any]] | None = None,
    *,
    parts: list[dict[str, Any]] | None = None,
    synthesis: dict[str, Any] | None = None,
    **changes: Any,
) -> Contract:
    """A contract called `name`; a composition when `parts` are given."""
    output = {
        "name": "risk",
        "unit": "{probability}",
        "description": "risk within a year",
        "positive": "event",
    }
    form: dict[str, Any] = {
        "schema": "medtower/contract/v1",
        "name": name,
        "title": "Risk of something",
        "task": "classification",
        "intended_use": "tests",
        "out_of_scope": ["patients"],
        "owner": "clinical@example.org",
        "inputs": [AGE, SEX, SMOKER, MARKER] if inputs is None else inputs,
        "output": output | changes.pop("output", {}),
        "kpis": {"auc_roc": {"target": 0.9, "warning": 0.88, "critical": 0.85}},
        "gates": {"primary": "auc_roc"},
    }
    if parts is not None:
        form["composition"] = {"parts": parts, "synthesis": synthesis or WEIGHTED}
    return Contract.model_validate(form | changes)


def score(name: str, **output: Any) -> Contract:
    """The contract of a regression over age, in score points."""
    return contract(
        name,
        [AGE],
        task="regression",
        output={"unit": "{score}", "positive": "", "range": [0, 10]} | output,
        kpis={"mae": {"target": 0.1, "warning": 0.2, "critical": 0.3}},
        gates={"primary": "mae"},
    )
