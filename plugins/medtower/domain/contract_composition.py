"""The part of a contract that makes one answer out of several models: which parts are asked, when, and how their answers become one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from medtower.domain.condition import Condition
from medtower.domain.contract_part import Name, Part

if TYPE_CHECKING:
    from medtower.domain.contract import Contract, Input

OWN = "own"
PartName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class CompositionPart(Part):
    """One model that is asked. `model: own` (its name is `own` too) is the contract's own weights; any other is a released model, routed by its own
    route. `inputs` renames: the part's input, then ours; the others are taken by their own names. A part that is `optional` and fails is left out."""

    name: PartName
    model: Name
    when: Condition | None = None
    inputs: dict[Name, Name] = {}
    optional: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.name == OWN) != (self.model == OWN):
            raise ValueError("the part with the contract's own weights is written `{name: own, model: own}`")
        if self.name == OWN and self.inputs:
            raise ValueError("the own weights take the contract's inputs as they are; remove `inputs:`")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """The parts whose answers its condition looks at."""
        compared = self.when.comparisons() if self.when else ()
        return frozenset(each.part for each in compared if each.part is not None)


class ConfidenceWeighted(Part):
    """The mean of the parts' predictions, each weighted by its confidence. `parts`: which ones; all when none are named."""

    kind: Literal["confidence_weighted"]
    parts: list[PartName] = []


class Choice(Part):
    """A part, and the confidence from which its answer stands."""

    part: PartName
    floor: float = Field(0.0, ge=0, le=1)


class FirstConfident(Part):
    """The first in `order` that is confident enough; when none is, the last that answered."""

    kind: Literal["first_confident"]
    order: list[Choice] = Field(min_length=1)


class OwnAnswer(Part):
    """The own weights answer; the other parts are shown beside it."""

    kind: Literal["own"]


Synthesis = Annotated[ConfidenceWeighted | FirstConfident | OwnAnswer, Field(discriminator="kind")]


class Composition(Part):
    """`parts` are asked in waves, each as soon as what its condition looks at has answered; `synthesis` makes one answer of theirs."""

    parts: list[CompositionPart] = Field(min_length=1, max_length=16)
    synthesis: Synthesis

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [part.name for part in self.parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"parts: {', '.join(twice)} is listed twice")
        for part in self.parts:
            for name in sorted(part.needs):
                _known(name, names, f"parts: the condition of {part.name}")
        self.waves()
        self._check_synthesis(names)
        return self

    def _check_synthesis(self, names: list[str]) -> None:
        chosen = self.synthesised
        if len(set(chosen)) != len(chosen):
            raise ValueError("synthesis: every part once")
        if isinstance(self.synthesis, OwnAnswer):
            own = next((part for part in self.parts if part.name == OWN), None)
            if own is None or own.when or own.optional:
                raise ValueError(
                    "synthesis: `own` needs the part own, always asked: without `when:` and `optional:`"
                )
        for name in chosen:
            _known(name, names, "synthesis")

    @property
    def synthesised(self) -> list[str]:
        """The names of the parts whose predictions may become the answer, in the order of the synthesis."""
        if isinstance(self.synthesis, OwnAnswer):
            return [OWN]
        if isinstance(self.synthesis, FirstConfident):
            return [choice.part for choice in self.synthesis.order]
        return self.synthesis.parts or [part.name for part in self.parts]

    def waves(self) -> list[list[CompositionPart]]:
        """The parts in the order in which they can be asked: those of one wave need only what earlier waves answered.

        Raises ValueError when parts wait for each other (Kahn 1962, doi:10.1145/368996.369025).
        """
        waves: list[list[CompositionPart]] = []
        answered: set[str] = set()
        waiting = list(self.parts)
        while waiting:
            wave = [part for part in waiting if part.needs <= answered]
            if not wave:
                names = ", ".join(part.name for part in waiting)
                raise ValueError(
                    f"parts: {names} wait for each other; a condition must not lead back to its part"
                )
            waves.append(wave)
            answered |= {part.name for part in wave}
            waiting = [part for part in waiting if part.name not in answered]
        return waves

    def against(self, contract: Contract) -> None:
        """Raise ValueError when a part names the contract itself, or an input that the contract has not or has of another kind, or when the contract
        has its answers cached: the parts are released without it, so nobody could tell a stale answer."""
        if contract.cache_seconds:
            raise ValueError(
                "composition: its answers are never cached, its parts may be; remove `cache_seconds:`"
            )
        for part in self.parts:
            if part.model == contract.name:
                raise ValueError(
                    f"composition: {part.name} asks {contract.name} itself; its own weights are `model: own`"
                )
            for theirs, ours in part.inputs.items():
                _known(ours, contract.input_names, f"composition: {theirs} of {part.name}")
            for compared in part.when.comparisons() if part.when else ():
                if compared.input is not None:
                    _known(compared.input, contract.input_names, f"composition: the condition of {part.name}")
                    _check_kind(part, compared, contract.input(compared.input))


def _check_kind(part: CompositionPart, compared: Condition, spec: Input) -> None:
    where = f"composition: the condition of {part.name} compares {spec.name}"
    numeric = spec.dtype in ("float", "integer")
    if compared.bounds and not numeric:
        raise ValueError(f"{where} with a number, but it is a {spec.dtype}")
    if compared.one_of is not None:
        if spec.dtype != "category":
            raise ValueError(f"{where} with categories, but it is a {spec.dtype}")
        for category in compared.one_of:
            _known(category, spec.categories or [], where)
    if compared.equals is not None and spec.dtype != "boolean":
        raise ValueError(f"{where} with true or false, but it is a {spec.dtype}")
    if (
        numeric
        and spec.range
        and any(not spec.range[0] <= bound <= spec.range[1] for bound in compared.bounds)
    ):
        low, high = spec.range
        raise ValueError(f"{where} with a number outside its range of [{low:g}, {high:g}] {spec.unit}")


def _known(name: str, names: Iterable[str], where: str) -> None:
    known = list(names)
    if name not in known:
        close = next(iter(difflib.get_close_matches(name, known, n=1)), None)
        hint = f"write '{close}'" if close else f"write one of {', '.join(known)}"
        raise ValueError(f"{where} names '{name}', which is not there; {hint}")
