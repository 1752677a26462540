"""What comes of a composition: one answer, and what each part had to do with it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from medtower.domain import inference
from medtower.domain.contract_composition import OWN
from medtower.gateway.answering.case import Case, Inferred

BETWEEN = "~"  # no caller can write it into a request id, so no part's id is ever taken


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """What leaves with the answer about one part. `version` to `confidence` are None for a part that did not answer; then `why_not` says why."""

    name: str
    model: str
    version: int | None = None
    digest: str | None = None
    prediction: float | None = None
    unit: str | None = None
    confidence: float | None = None
    used: bool = False
    why_not: str | None = None


class Composed(msgspec.Struct, frozen=True):
    """One answer: `inferred` is what stands for the whole (the composing arm, its row, the value), `review` why a person should look at it.

    `parts` go into the answer, `ran` on record: the parts that answered, also those of parts. `own` is what the arm's own weights said, which is
    what a version in the shadow is compared with.
    """

    inferred: Inferred
    review: str | None
    parts: tuple[PartAnswer, ...] = ()
    ran: tuple[Ran, ...] = ()
    own: Inferred | None = None

    @classmethod
    def alone(cls, inferred: Inferred) -> Composed:
        """The answer of a model that is no composition."""
        contract = inferred.arm.contract
        review = inference.review_reason(contract, inference.confidence(contract, inferred.value))
        return cls(inferred, review, own=inferred)


class Ran(msgspec.Struct, frozen=True):
    """A part that answered: its case (with a request id of its own) and what came of it. `part_of` is the request id of the composition."""

    case: Case
    composed: Composed
    part_of: str = ""

    @property
    def own(self) -> bool:
        """Whether it is the own weights of a composition: a share of one answer, and no answer of their own to count."""
        return self.case.question.request_id.endswith(f"{BETWEEN}{OWN}")
