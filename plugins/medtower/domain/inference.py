"""One request against one contract: named features in, the row of numbers that the model takes out. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from medtower.domain.contract import Contract, Input
from medtower.domain.text_hashing import Buckets, hashed
from medtower.errors import FeatureInvalid

TENSOR_IN = "features"
TENSOR_OUT = "prediction"


def encode(contract: Contract, features: Mapping[str, Any]) -> list[float]:
    """Return the row `features` [width] in the order of the contract; missing is NaN, a category its index, a boolean 0 or 1, a text its hashed
    words, a sequence its numbers and NaN for those it might have had.

    Raises FeatureInvalid naming the field and the rule, never the value.
    """
    known = set(contract.input_names)
    for key in features:
        if key not in known:
            raise FeatureInvalid(
                "features", f"has a field that the contract of {contract.name} does not know"
            )
    row: list[float] = []
    for spec in contract.inputs:
        value = features.get(spec.name)
        if value is None:
            row += _missing(spec)
        elif spec.dtype == "text":
            row += _text(spec, value)
        elif spec.dtype == "sequence":
            row += _sequence(spec, value)
        else:
            row.append(_encode(spec, value))
    return row


def _missing(spec: Input) -> list[float]:
    if spec.missing == "refuse":
        raise FeatureInvalid(spec.name, "is required")
    return [math.nan] * spec.width


def _text(spec: Input, value: Any) -> list[float]:
    if isinstance(value, Buckets):
        if len(value) != spec.width or not all(-1 <= number <= 1 for number in value):
            raise FeatureInvalid(spec.name, f"must be {spec.width} numbers in [-1, 1] when it comes hashed")
        return list(value)
    if not isinstance(value, str):
        raise FeatureInvalid(spec.name, "must be text")
    if len(value) > (spec.max_length or 0):
        raise FeatureInvalid(spec.name, f"must be at most {spec.max_length} characters long")
    return hashed(value, spec.width)


def _sequence(spec: Input, value: Any) -> list[float]:
    least, most = spec.length or (0, 0)
    if not isinstance(value, list | tuple):
        raise FeatureInvalid(spec.name, "must be a list of numbers")
    if not least <= len(value) <= most:
        raise FeatureInvalid(spec.name, f"must hold {least} to {most} numbers")
    numbers = [_number(spec, item, f"{spec.name}[{k}]") for k, item in enumerate(value)]
    return numbers + [math.nan] * (most - len(numbers))


def _encode(spec: Input, value: Any) -> float:
    if spec.dtype == "category":
        if not isinstance(value, str) or value not in (spec.categories or []):
            raise FeatureInvalid(spec.name, f"must be one of {', '.join(spec.categories or [])}")
        return float((spec.categories or []).index(value))
    if spec.dtype == "boolean":
        if not isinstance(value, bool):
            raise FeatureInvalid(spec.name, "must be true or false")
        return float(value)
    return _number(spec, value, spec.name)


def _number(spec: Input, value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FeatureInvalid(field, "must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise FeatureInvalid(field, "must be a finite number")
    low, high = spec.range or (-math.inf, math.inf)
    # comparing before float(): an integer too large for a float would raise OverflowError; NaN fails every comparison
    if not low <= value <= high:
        raise FeatureInvalid(field, f"must be in [{low:g}, {high:g}] {spec.unit}")
    if spec.dtype == "integer" and value != int(value):
        raise FeatureInvalid(field, "must be a whole number")
    return float(value)


def confidence(contract: Contract, prediction: float) -> float:
    """Confidence in [0, 1]: the probability of the class that the threshold answers; for a number 1.0 inside the output's range, else 0."""
    if contract.task == "classification":
        return prediction if prediction >= contract.output.threshold else 1 - prediction
    low, high = contract.output.range or (-math.inf, math.inf)
    return 1.0 if low <= prediction <= high else 0.0


def label(contract: Contract, prediction: float) -> str | None:
    """The class that `prediction` stands for, by the contract's threshold; None for regression."""
    if contract.task != "classification":
        return None
    positive = contract.output.positive or "positive"
    return positive if prediction >= contract.output.threshold else f"not {positive}"


def review_reason(contract: Contract, confidence: float) -> str | None:
    """Why a person should look at this prediction; None when nothing asks for it."""
    if contract.task == "regression" and confidence == 0.0:
        return "the prediction lies outside the range of the output"
    if confidence < contract.output.confidence_floor:
        return f"the confidence is below the contract's floor of {contract.output.confidence_floor:g}"
    return None
