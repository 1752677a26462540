"""What a contract comes to for every question, worked out once; and by it the row of a question whose inputs are all numbers, there and in range:
the common case, at a quarter of the general encoding's price.

Whatever is not that common case is left to `domain.inference.encode`, which also says what is wrong with it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

from medtower.domain.contract import Contract

LARGEST = 3.4e38  # float32
KEPT = 256
Check = tuple[str, float, float, bool]


class Plan(NamedTuple):
    """`checks` (name, lowest, highest, whole number) is None when not every input is a number with a range."""

    contract: Contract
    width: int
    texts: tuple[str, ...]
    checks: tuple[Check, ...] | None


# by identity, and the contract with it, so that no other object takes its place while it is here: hashing a contract takes longer than encoding
_PLANS: dict[int, Plan] = {}


def plan_of(contract: Contract) -> Plan:
    """The plan of `contract`."""
    return _PLANS.get(id(contract)) or _remembered(contract)


def plain_row(contract: Contract, features: Mapping[str, Any]) -> array[float] | None:
    """The row (float32 [inputs]), or None when the question is not of the common kind."""
    checks = plan_of(contract).checks
    if checks is None or len(features) != len(checks):
        return None
    row = []
    for name, low, high, whole in checks:
        value = features.get(name)
        kind = type(value)
        if kind is not int and (whole or kind is not float):
            return None
        if not low <= value <= high:  # type: ignore[operator]
            return None
        row.append(value)
    return array("f", row)  # type: ignore[arg-type]


def _remembered(contract: Contract) -> Plan:
    if len(_PLANS) >= KEPT:
        _PLANS.clear()
    plan = _PLANS[id(contract)] = Plan(contract, contract.width, contract.texts, _checks(contract))
    return plan


def _checks(contract: Contract) -> tuple[Check, ...] | None:
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
