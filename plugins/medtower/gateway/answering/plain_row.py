"""The row of a question whose inputs are all numbers, there and in range: the common case, at a quarter of the general encoding's price.

Whatever is not that common case is left to `domain.inference.encode`, which also says what is wrong with it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from medtower.domain.contract import Contract

LARGEST = 3.4e38  # float32
KEPT = 256
Check = tuple[str, float, float, bool]
Plan = tuple[Check, ...] | None

# by identity, and the contract with it, so that no other object takes its place while it is here: hashing a contract takes longer than encoding
_PLANS: dict[int, tuple[Contract, Plan]] = {}


def plain_row(contract: Contract, features: Mapping[str, Any]) -> array[float] | None:
    """The row (float32 [inputs]), or None when the question is not of the common kind."""
    known = _PLANS.get(id(contract))
    plan = known[1] if known else _remembered(contract)
    if plan is None or len(features) != len(plan):
        return None
    row = array("f")
    for name, low, high, whole in plan:
        value = features.get(name)
        kind = type(value)
        if kind is not int and (whole or kind is not float):
            return None
        if not low <= value <= high:  # type: ignore[operator]
            return None
        row.append(value)  # type: ignore[arg-type]
    return row


def _remembered(contract: Contract) -> Plan:
    if len(_PLANS) >= KEPT:
        _PLANS.clear()
    plan = _plan(contract)
    _PLANS[id(contract)] = contract, plan
    return plan


def _plan(contract: Contract) -> Plan:
    checks: list[Check] = []
    for spec in contract.inputs:
        if (
            spec.dtype not in ("float", "integer")
            or spec.range is None
            or max(map(abs, spec.range)) > LARGEST
        ):
            return None
        checks.append((spec.name, *spec.range, spec.dtype == "integer"))
    return tuple(checks)
