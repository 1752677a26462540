"""What a contract comes to for every question, worked out once; and by it the row of a question whose inputs are all there and as they should be:
the common case, at 0.3 to 0.65 of the general encoding's price (the more inputs, the less).

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
NUMBER_TYPES = frozenset({int, float})  # and no bool, which is an int to `isinstance`
NUMBERS = ("float", "integer")


class Coded(NamedTuple):
    """An input that is no number: a category or a truth value, at its `place` in the row. `numbers` says what each value of the type `kind` is for the
    model, `values` what each number stands for."""

    place: int
    name: str
    kind: type
    numbers: dict[Any, int]
    values: dict[int, Any]


class Plan(NamedTuple):
    """Of a contract: the columns of its row (`width`), the names of its free texts, and what a plain row is checked by. `names`, `lows` and `highs` are
    those of the inputs where every one is a number with a range, a category or a truth value, and empty where one is not; `whole` are the places
    of those that have whole numbers only, `coded` those that are no numbers to their callers."""

    contract: Contract
    width: int
    texts: tuple[str, ...]
    names: tuple[str, ...] = ()
    lows: tuple[float, ...] = ()
    highs: tuple[float, ...] = ()
    whole: tuple[int, ...] = ()
    coded: tuple[Coded, ...] = ()

    def row(self, numbers: Sequence[Any]) -> array[float] | None:
        """`numbers` [inputs], in the order of the contract, as the model takes them (float32), or None when they are not of the common kind."""
        if not self.lows or len(numbers) != len(self.lows) or not NUMBER_TYPES.issuperset(map(type, numbers)):
            return None
        if not (all(map(le, self.lows, numbers)) and all(map(le, numbers, self.highs))):
            return None
        if self.whole and any(numbers[place] % 1 for place in self.whole):
            return None
        return array("f", numbers)

    def named(self, row: Sequence[Any]) -> dict[str, Any]:
        """The features that a plain `row` [inputs] stands for."""
        features = dict(zip(self.names, row, strict=True))
        for each in self.coded:
            features[each.name] = each.values[row[each.place]]
        return features


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
    values = list(map(features.get, plan.names))
    for place, _, kind, numbers, _ in plan.coded:
        value = values[place]
        values[place] = numbers.get(value) if type(value) is kind else None
    return plan.row(values)


def _remembered(contract: Contract) -> Plan:
    if len(_PLANS) >= KEPT:
        _PLANS.clear()
    plan = _PLANS[id(contract)] = _made(contract)
    return plan


def _made(contract: Contract) -> Plan:
    inputs = contract.inputs
    ranges = [found for spec in inputs if (found := _range(spec))]
    if len(ranges) < len(inputs):
        return Plan(contract, contract.width, contract.texts)
    lows, highs = zip(*ranges, strict=True)
    return Plan(
        contract,
        contract.width,
        contract.texts,
        names=tuple(contract.input_names),
        lows=lows,
        highs=highs,
        whole=tuple(place for place, spec in enumerate(inputs) if spec.dtype != "float"),
        coded=tuple(_coded(place, spec) for place, spec in enumerate(inputs) if spec.dtype not in NUMBERS),
    )


def _range(spec: Input) -> tuple[float, float] | None:
    if spec.dtype == "category":
        return 0, len(spec.categories or ()) - 1
    if spec.dtype == "boolean":
        return 0, 1
    if spec.dtype not in NUMBERS or spec.range is None or max(map(abs, spec.range)) > LARGEST:
        return None
    return spec.range


def _coded(place: int, spec: Input) -> Coded:
    values = dict(enumerate((False, True) if spec.dtype == "boolean" else spec.categories or ()))
    kind = bool if spec.dtype == "boolean" else str
    return Coded(place, spec.name, kind, {value: number for number, value in values.items()}, values)
