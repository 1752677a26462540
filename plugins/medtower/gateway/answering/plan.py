"""What a contract comes to for every question, worked out once; and by it the row of a question whose inputs are all numbers, there and in range:
the common case, at a quarter of the general encoding's price.

Whatever is not that common case is left to `domain.inference.encode`, which also says what is wrong with it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import le
from typing import Any, NamedTuple

from medtower.domain.contract import Contract

LARGEST = 3.4e38  # float32
KEPT = 256
NUMBERS, WHOLE = frozenset({int, float}), frozenset({int})


class Plan(NamedTuple):
    """`names`, `lows` and `highs` are those of the inputs where every one is a number with a range, and empty where one is not; `whole` are the places
    of those that take whole numbers only."""

    contract: Contract
    width: int
    texts: tuple[str, ...]
    names: tuple[str, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    whole: tuple[int, ...]

    def row(self, numbers: Sequence[Any]) -> array[float] | None:
        """`numbers` [inputs], in the order of the contract, as the model takes them (float32), or None when they are not of the common kind."""
        if not self.lows or len(numbers) != len(self.lows) or not NUMBERS.issuperset(map(type, numbers)):
            return None
        if not (all(map(le, self.lows, numbers)) and all(map(le, numbers, self.highs))):
            return None
        if self.whole and not WHOLE.issuperset([type(numbers[place]) for place in self.whole]):
            return None
        return array("f", numbers)


# by identity, and the contract with it, so that no other object takes its place while it is here: hashing a contract takes longer than encoding
_PLANS: dict[int, Plan] = {}


def plan_of(contract: Contract) -> Plan:
    """The plan of `contract`."""
    return _PLANS.get(id(contract)) or _remembered(contract)


def plain_row(contract: Contract, features: Mapping[str, Any]) -> array[float] | None:
    """The row (float32 [inputs]), or None when the question is not of the common kind."""
    plan = plan_of(contract)
    if len(features) != len(plan.names):
        return None
    return plan.row(list(map(features.get, plan.names)))


def _remembered(contract: Contract) -> Plan:
    if len(_PLANS) >= KEPT:
        _PLANS.clear()
    plan = _PLANS[id(contract)] = Plan(contract, contract.width, contract.texts, *_numbers(contract))
    return plan


def _numbers(
    contract: Contract,
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    ranges = []
    for spec in contract.inputs:
        if (
            spec.dtype not in ("float", "integer")
            or spec.range is None
            or max(map(abs, spec.range)) > LARGEST
        ):
            return (), (), (), ()
        ranges.append(spec.range)
    lows, highs = zip(*ranges, strict=True)
    whole = tuple(place for place, spec in enumerate(contract.inputs) if spec.dtype == "integer")
    return tuple(contract.input_names), lows, highs, whole
