"""One request against one contract: named features in, the row of numbers that the model takes out. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from medtower.domain.contract import Contract, Input
from medtower.errors import FeatureInvalid

TENSOR_IN = "features"
TENSOR_OUT = "prediction"


def encode(contract: Contract, features: Mapping[str, Any]) -> list[float]:
    """Return the row `features` [inputs] in the order of the contract; missing is NaN, a category its index, a boolean 0 or 1.

    Raises FeatureInvalid naming the field and the rule, never the value.
    """
    known = set(contract.input_names)
    for key in features:
        if key not in known:
            raise FeatureInvalid(
                "features", f"has a field that the contract of {contract.name} does not know"
            )
    return [_encode(i, features.get(i.name)) for i in contract.inputs]


def _encode(spec: Input, value: Any) -> float:
    if value is None:
        if spec.missing == "refuse":
            raise FeatureInvalid(spec.name, "is required")
        return math.nan
    if spec.dtype == "category":
        if not isinstance(value, str) or value not in (spec.categories or []):
            raise FeatureInvalid(spec.name, f"must be one of {', '.join(spec.categories or [])}")
        return float((spec.categories or []).index(value))
    if spec.dtype == "boolean":
        if not isinstance(value, bool):
            raise FeatureInvalid(spec.name, "must be true or false")
        return float(value)
    return _number(spec, value)


def _number(spec: Input, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FeatureInvalid(spec.name, "must be a number")
    low, high = spec.range or (-math.inf, math.inf)
    # comparing before float(): an integer too large for a float would raise OverflowError; NaN fails every comparison
    if not low <= value <= high:
        raise FeatureInvalid(spec.name, f"must be in [{low:g}, {high:g}] {spec.unit}")
    if spec.dtype == "integer" and value != int(value):
        raise FeatureInvalid(spec.name, "must be a whole number")
    return float(value)


def confidence(contract: Contract, prediction: float) -> float:
    """Confidence in [0, 1]: the probability of the class that the threshold answers; for a number 1.0 inside the output's range, else 0."""
    if contract.task == "classification":
        return prediction if prediction >= contract.output.threshold else 1 - prediction
    low, high = contract.output.range or (-math.inf, math.inf)
    return 1.0 if low <= prediction <= high else 0.0
