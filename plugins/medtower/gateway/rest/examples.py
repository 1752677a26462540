"""The examples in the OpenAPI document: one question for each model that serves now, made from its contract."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from medtower.domain.contract import Contract, Input

PREDICT, NAMED, OUTCOMES = "/api/v1/ml/predict/{model}", "/api/v1/ml/predict", "/api/v1/ml/outcomes"
BATCH = "/api/v1/ml/batch"


def with_examples(document: Mapping[str, Any], contracts: Mapping[str, Contract]) -> dict[str, Any]:
    """A copy of the OpenAPI `document` with examples for the models that serve; without any, the document as it is."""
    shown = copy.deepcopy(dict(document))
    if contracts:
        _place(shown, PREDICT, {name: question(contract) for name, contract in contracts.items()})
        _place(shown, NAMED, {n: {"model": n} | question(contract) for n, contract in contracts.items()})
        _place(shown, BATCH, {name: table(contract) for name, contract in contracts.items()}, "text/csv")
        truth = outcome(next(iter(contracts)))
        _place(shown, OUTCOMES, {"one": truth, "several": [truth]})
    return shown


def _place(
    document: dict[str, Any], path: str, examples: Mapping[str, Any], kind: str = "application/json"
) -> None:
    content = document["paths"][path]["post"]["requestBody"]["content"][kind]
    content["examples"] = {name: {"value": value} for name, value in examples.items()}


def outcome(model: str) -> dict[str, Any]:
    return {"request_id": "example-1", "model": model, "value": 1, "observed_at": "2026-01-31T09:30:00Z"}


def question(contract: Contract) -> dict[str, Any]:
    """A question that the contract accepts, for the documentation: numbers from the middle of their ranges."""
    features = {spec.name: _example_value(spec) for spec in contract.inputs}
    return {"request_id": "example-1", "subject_id": "subject-1", "features": features}


def table(contract: Contract) -> str:
    """A CSV file with one row that the contract accepts."""
    asked, page = question(contract), io.StringIO()
    values = [v if isinstance(v, str) else json.dumps(v) for v in asked["features"].values()]
    csv.writer(page).writerows([["subject_id", *asked["features"]], [asked["subject_id"], *values]])
    return page.getvalue()


def _example_value(spec: Input) -> float | int | bool | str | list[float]:
    if spec.dtype == "text":
        return "no fever, mild headache"[: spec.max_length]
    if spec.dtype == "category":
        return (spec.categories or [""])[0]
    if spec.dtype == "boolean":
        return False
    low, high = spec.range or (0.0, 1.0)
    middle = (low + high) / 2
    if spec.dtype == "sequence":
        return [middle] * (spec.length or (1, 1))[0]
    return int(middle) if spec.dtype == "integer" else middle
