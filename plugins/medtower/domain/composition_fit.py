"""Whether a composition fits the contracts of the models it asks: what it can give them, what it makes of their answers, and who asks whom."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medtower.domain.condition import Condition
from medtower.domain.contract import Contract, Input
from medtower.domain.contract_composition import OWN, Composition, CompositionPart
from medtower.domain.routing import Route

DEEPEST = 4
NUMBERS = ("float", "integer")
Released = Mapping[str, Sequence[Contract]]


def withheld(routes: Mapping[str, Route]) -> dict[tuple[str, int], str]:
    """Why the version of a model must not answer, by (model, version): its contract is a composition that does not fit what is routed to now."""
    released = {model: [arm.contract for arm in route.arms] for model, route in routes.items()}
    found = {}
    for model, route in routes.items():
        for arm in route.arms:
            if problems := misfits(arm.contract, released):
                found[model, arm.version] = "its composition does not fit: " + "; ".join(problems)
    return found


def misfits(contract: Contract, released: Released) -> list[str]:
    """What is wrong with the composition of `contract` beside the contracts of what is `released` (by model: those of all its arms).

    Empty when it fits, and when it is no composition.
    """
    if contract.composition is None:
        return []
    problems: list[str] = []
    for part in contract.composition.parts:
        theirs = [contract] if part.model == OWN else released.get(part.model, ())
        if not theirs:
            problems.append(f"{part.name}: no version of {part.model} is released")
        for other in theirs:
            problems += part_misfits(contract, part, other)
    loop = _loop(contract, released)
    return list(dict.fromkeys([*problems, *([loop] if loop else [])]))


def _unheard(contract: Contract, other: Contract) -> Iterator[str]:
    if other.emergency and not contract.emergency:
        yield f"{other.name} escalates emergencies, which as a part it does not; say when the composition does under `emergency:`"


def part_misfits(contract: Contract, part: CompositionPart, other: Contract) -> list[str]:
    """What is wrong with `part` of the composition in `contract` when a version with the contract `other` answers for it."""
    found = (
        []
        if part.model == OWN
        else [*_inputs(contract, part, other), *_output(contract, part, other), *_unheard(contract, other)]
    )
    return [f"{part.name}: {problem}" for problem in [*found, *_compared(contract, part, other)]]


def _inputs(contract: Contract, part: CompositionPart, other: Contract) -> Iterator[str]:
    ours, theirs = {spec.name: spec for spec in contract.inputs}, set(other.input_names)
    for name in part.inputs:
        if name not in theirs:
            yield f"{other.name} has no input {name}"
    for spec in other.inputs:
        source = ours.get(part.inputs.get(spec.name, spec.name))
        if source is not None:
            yield from _input(part, source, spec)
        elif spec.missing == "refuse":
            yield f"{other.name} needs {spec.name} in {spec.unit}; add such an input, or name ours under `inputs:`"


def _input(part: CompositionPart, ours: Input, theirs: Input) -> Iterator[str]:
    what = f"{theirs.name} of {part.model}"
    if ours.dtype != theirs.dtype and (ours.dtype, theirs.dtype) != ("integer", "float"):
        yield f"{what} is a {theirs.dtype}, our {ours.name} a {ours.dtype}"
        return
    if ours.unit != theirs.unit:
        yield f"{what} is in {theirs.unit}, our {ours.name} in {ours.unit}; nothing is converted"
    comes = reach(part.when, ours)
    if comes.may_be_missing and theirs.missing == "refuse":
        yield f"{what} may not be missing, our {ours.name} may; ask it `when: {{input: {ours.name}, given: true}}`"
    if theirs.range and (comes.low < theirs.range[0] or comes.high > theirs.range[1]):
        yield f"{what} takes [{theirs.range[0]:g}, {theirs.range[1]:g}], our {ours.name} comes in [{comes.low:g}, {comes.high:g}]"
    if theirs.max_length and (ours.max_length or 0) > theirs.max_length:
        yield f"{what} takes {theirs.max_length} characters, our {ours.name} comes with up to {ours.max_length}"
    if (
        ours.length
        and theirs.length
        and not theirs.length[0] <= ours.length[0] <= ours.length[1] <= theirs.length[1]
    ):
        yield f"{what} takes {list(theirs.length)} numbers, our {ours.name} comes with {list(ours.length)}"
    if strange := sorted(comes.categories - set(theirs.categories or ())):
        yield f"{what} does not know {', '.join(strange)} of our {ours.name}"


def _output(contract: Contract, part: CompositionPart, other: Contract) -> Iterator[str]:
    composition = contract.composition
    if composition is None or part.name not in composition.synthesised:
        return
    ours, theirs = contract.output, other.output
    if contract.task != other.task:
        yield f"{other.name} is a {other.task}, the answer is made by {contract.task}"
    elif ours.unit != theirs.unit:
        yield f"{other.name} answers in {theirs.unit}, the composition in {ours.unit}"
    elif contract.task == "classification" and ours.positive != theirs.positive:
        yield f"{other.name} answers another question: its `positive:` is not ours"


def _compared(contract: Contract, part: CompositionPart, other: Contract) -> Iterator[str]:
    low, high = (0.0, 1.0) if other.task == "classification" else other.output.range or (-math.inf, math.inf)
    for asking in contract.composition.parts if contract.composition else ():
        for compared in asking.when.comparisons() if asking.when else ():
            if compared.part != part.name or compared.of == "confidence":
                continue
            if any(not low <= bound <= high for bound in compared.bounds):
                yield f"{asking.name} compares its answer with a number outside [{low:g}, {high:g}]"


@dataclass(frozen=True, slots=True)
class Reach:
    """What of an input can come to a part: numbers in [low, high], `categories`, and whether it may be missing."""

    low: float
    high: float
    categories: frozenset[str]
    may_be_missing: bool


def reach(condition: Condition | None, spec: Input) -> Reach:
    """What of `spec` is left where `condition` holds. Never less than what can come, so that what fits it fits."""
    low, high = spec.range or (-math.inf, math.inf)
    whole = Reach(low, high, frozenset(spec.categories or ()), spec.missing == "impute")
    return whole if condition is None else _narrowed(condition, spec.name, whole)


def _narrowed(condition: Condition, name: str, whole: Reach) -> Reach:
    if condition.all_of is not None:
        for each in condition.all_of:
            whole = _narrowed(each, name, whole)
        return whole
    if condition.any_of is not None:
        return _hull([_narrowed(each, name, whole) for each in condition.any_of])
    if condition.input != name or condition.given is False:
        return whole
    low, high = condition.interval
    allowed = whole.categories if condition.one_of is None else whole.categories & set(condition.one_of)
    return Reach(max(whole.low, low), min(whole.high, high), allowed, may_be_missing=False)


def _hull(reaches: Sequence[Reach]) -> Reach:
    return Reach(
        min(each.low for each in reaches),
        max(each.high for each in reaches),
        frozenset().union(*(each.categories for each in reaches)),
        any(each.may_be_missing for each in reaches),
    )


def _loop(contract: Contract, released: Released) -> str | None:
    """Who asks whom in a circle, or through too many compositions, from `contract` on."""
    asks = {
        model: {name for each in contracts for name in _asked(each.composition)}
        for model, contracts in released.items()
    }
    asks[contract.name] = _asked(contract.composition)
    fine: dict[str, int] = {}

    def depth(model: str, above: tuple[str, ...]) -> int:
        """How many compositions deep `model` is. Raises ValueError for a circle."""
        if model in above:
            raise ValueError(f"{' asks '.join((*above[above.index(model) :], model))}: a circle")
        if model not in fine:
            fine[model] = max(
                (1 + depth(each, (*above, model)) for each in sorted(asks.get(model, ()))), default=0
            )
        return fine[model]

    try:
        found = depth(contract.name, ())
    except ValueError as circle:
        return str(circle)
    return f"compositions ask each other {found} deep; {DEEPEST} is the most" if found > DEEPEST else None


def _asked(composition: Composition | None) -> set[str]:
    return {part.model for part in composition.parts if part.model != OWN} if composition else set()
