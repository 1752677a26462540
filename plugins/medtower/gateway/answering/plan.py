"""What a contract comes to for every question, worked out once; and by it the row of a question whose inputs are all numbers, there and in range:
the common case, at a quarter of the general encoding's price.

Whatever is not that common case is left to `domain.inference.encode`, which also says what is wrong with it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import le
from typing import Any, NamedTuple

from medtower.domain.contract import Contract, Input

LARGEST = 3.4e38  # float32
KEPT = 256
NUMBER_TYPES, INTEGER = (
    frozenset({int, float}),
    frozenset({int}),
)  # and no bool, which is an int to `isinstance`


class Plan(NamedTuple):
    """Of a contract: the columns of its row (`width`), the names of its free texts, and what a plain row is checked by. `names`, `lows` and `highs` are those of the inputs where every one is a number with a range, and empty where one is not; `whole` are the places
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
        if not self.lows or len(numbers) != len(self.lows) or not NUMBER_TYPES.issuperset(map(type, numbers)):
            return None
        if not (all(map(le, self.lows, numbers)) and all(map(le, numbers, self.highs))):
            return None
        if self.whole and not INTEGER.issuperset([type(numbers[place]) for place in self.whole]):
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
    plan = _PLANS[id(contract)] = _made(contract)
    return plan


def _made(contract: Contract) -> Plan:
    width, texts = contract.width, contract.texts
    if not all(map(_is_plain, contract.inputs)):
        return Plan(contract, width, texts, names=(), lows=(), highs=(), whole=())
    lows, highs = zip(*(spec.range for spec in contract.inputs if spec.range), strict=True)
    whole = tuple(place for place, spec in enumerate(contract.inputs) if spec.dtype == "integer")
    return Plan(
        contract, width, texts, names=tuple(contract.input_names), lows=lows, highs=highs, whole=whole
    )


def _is_plain(spec: Input) -> bool:
    if spec.dtype not in ("float", "integer") or spec.range is None:
        return False
    return max(map(abs, spec.range)) <= LARGEST
