"""When a part of a composition is asked: a small declared form over the inputs and over what other parts said. No expression is evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, model_validator

from medtower.domain.contract_part import Part

DEEPEST = 6
BOUNDS = ("at_or_above", "above", "at_or_below", "below")
FORMS = ("input", "part", "all_of", "any_of")
Several = Annotated[list["Condition"], Field(min_length=1, max_length=16)]


@dataclass(frozen=True, slots=True)
class Result:
    """What a part said: a probability or a number in its output's unit, and how sure of it it is, in [0, 1]."""

    prediction: float
    confidence: float


class Condition(Part):
    """One of four forms: `input:` compares an input of the contract, in its unit; `part:` compares what another part said (`of: confidence`: how
    sure it was); `all_of:` and `any_of:` join others. A number is compared by `at_or_above`, `above`, `at_or_below`, `below` (several hold
    together), a category by `one_of`, a boolean by `equals`; `given` asks whether an input is there. A comparison with what is not there is not met."""

    input: str | None = None
    part: str | None = None
    of: Literal["prediction", "confidence"] = "prediction"
    at_or_above: float | None = None
    above: float | None = None
    at_or_below: float | None = None
    below: float | None = None
    one_of: list[str] | None = Field(None, min_length=1)
    equals: StrictBool | None = None
    given: StrictBool | None = None
    all_of: Several | None = None
    any_of: Several | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = [form for form in FORMS if getattr(self, form) is not None]
        if len(forms) != 1:
            raise ValueError("a condition has exactly one of `input:`, `part:`, `all_of:` and `any_of:`")
        compared = [
            name for name in (*BOUNDS, "one_of", "equals", "given") if getattr(self, name) is not None
        ]
        if forms[0] in ("all_of", "any_of"):
            self._check_join(compared)
        elif forms[0] == "part":
            self._check_part(compared)
        else:
            self._check_input(compared)
        return self

    def _check_join(self, compared: list[str]) -> None:
        if compared or self.of != "prediction":
            raise ValueError(
                "`all_of:` and `any_of:` compare nothing themselves; put the comparison into their list"
            )
        if _depth(self) > DEEPEST:
            raise ValueError(f"conditions are joined at most {DEEPEST} deep")

    def _check_part(self, compared: list[str]) -> None:
        if not compared or set(compared) - set(BOUNDS):
            raise ValueError(f"what a part said is compared by {', '.join(BOUNDS)}")
        if self.of == "confidence" and any(not 0 <= bound <= 1 for bound in self.bounds):
            raise ValueError("a confidence is compared with a number in [0, 1]")

    def _check_input(self, compared: list[str]) -> None:
        if self.of != "prediction":
            raise ValueError("`of:` goes with `part:`; remove it")
        if not compared:
            raise ValueError(f"an input is compared by {', '.join((*BOUNDS, 'one_of', 'equals'))} or `given`")
        if self.given is False and len(compared) > 1:
            raise ValueError("an input that is not given compares with nothing; write `given: false` alone")
        if len({"one_of", "equals"} & set(compared)) + any(name in BOUNDS for name in compared) > 1:
            raise ValueError("an input is a number, a category or a boolean; compare it as one of them")

    @property
    def bounds(self) -> list[float]:
        """The numbers that it compares with itself."""
        return [bound for name in BOUNDS if (bound := getattr(self, name)) is not None]

    @property
    def interval(self) -> tuple[float, float]:
        """The closed interval outside of which no number meets the bounds."""
        lower = [bound for bound in (self.at_or_above, self.above) if bound is not None]
        upper = [bound for bound in (self.at_or_below, self.below) if bound is not None]
        return max(lower, default=-math.inf), min(upper, default=math.inf)

    def comparisons(self) -> Iterator[Condition]:
        """Every comparison in it, itself where it is one."""
        joined = self.all_of or self.any_of
        if joined is None:
            yield self
        for each in joined or ():
            yield from each.comparisons()


def met(condition: Condition, features: Mapping[str, Any], results: Mapping[str, Result]) -> bool:
    """Whether it holds for these named inputs (validated by the contract, None or absent is missing) and for what the parts said so far."""
    if condition.all_of is not None:
        return all(met(each, features, results) for each in condition.all_of)
    if condition.any_of is not None:
        return any(met(each, features, results) for each in condition.any_of)
    if condition.part is not None:
        said = results.get(condition.part)
        return said is not None and _bounded(
            condition, said.confidence if condition.of == "confidence" else said.prediction
        )
    return _input_met(condition, features.get(condition.input or ""))


def _input_met(condition: Condition, value: Any) -> bool:
    if value is None:
        return condition.given is False
    if condition.given is False:
        return False
    if condition.one_of is not None:
        return value in condition.one_of
    if condition.equals is not None:
        return value is condition.equals
    return not condition.bounds or _bounded(condition, value)


def _bounded(condition: Condition, value: float) -> bool:
    return (
        (condition.at_or_above is None or value >= condition.at_or_above)
        and (condition.above is None or value > condition.above)
        and (condition.at_or_below is None or value <= condition.at_or_below)
        and (condition.below is None or value < condition.below)
    )


def _depth(condition: Condition) -> int:
    return 1 + max((_depth(each) for each in condition.all_of or condition.any_of or ()), default=0)
