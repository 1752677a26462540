"""The examples in the OpenAPI document: one question for each model that serves now, made from its contract."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from medtower.domain.contract import Contract, Input

PREDICT, OUTCOMES = "/api/v1/ml/predict/{model}", "/api/v1/ml/outcomes"


def with_examples(document: Mapping[str, Any], contracts: Mapping[str, Contract]) -> dict[str, Any]:
    """A copy of the OpenAPI `document` with examples for the models that serve; without any, the document as it is."""
    shown = copy.deepcopy(dict(document))
    if contracts:
        _place(shown, PREDICT, {name: question(contract) for name, contract in contracts.items()})
        truth = outcome(next(iter(contracts)))
        _place(shown, OUTCOMES, {"one": truth, "several": [truth]})
    return shown


def _place(document: dict[str, Any], path: str, examples: Mapping[str, Any]) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    content["examples"] = {name: {"value": value} for name, value in examples.items()}


def outcome(model: str) -> dict[str, Any]:
    return {"request_id": "example-1", "model": model, "value": 1, "observed_at": "2026-01-31T09:30:00Z"}


def question(contract: Contract) -> dict[str, Any]:
    """A question that the contract accepts, for the documentation: numbers from the middle of their ranges."""
    features = {spec.name: _example_value(spec) for spec in contract.inputs}
    return {"request_id": "example-1", "subject_id": "subject-1", "features": features}


def _example_value(spec: Input) -> float | int | bool | str:
    if spec.dtype == "category":
        return (spec.categories or [""])[0]
    if spec.dtype == "boolean":
        return False
    low, high = spec.range or (0.0, 1.0)
    middle = (low + high) / 2
    return int(middle) if spec.dtype == "integer" else middle
