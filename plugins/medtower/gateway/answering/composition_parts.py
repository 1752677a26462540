"""The parts of one composition at work: who is asked when, what each is given, and how what they said becomes the answer."""

from __future__ import annotations

import asyncio
import logging
import time
from array import array
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from medtower.domain import inference, synthesis
from medtower.domain.composition_fit import part_misfits
from medtower.domain.condition import Result, met
from medtower.domain.contract import Contract
from medtower.domain.contract_composition import OWN, Composition, CompositionPart
from medtower.domain.routing import Arm, Route
from medtower.errors import (
    DeadlineExceeded,
    FeatureInvalid,
    MedtowerError,
    ModelMisbehaved,
    NotFound,
    Unavailable,
)
from medtower.gateway.answering.case import Ask, Case, Inferred, milliseconds_since
from medtower.gateway.answering.composition_answer import BETWEEN, Composed, PartAnswer, Ran
from medtower.gateway.parts import Parts
from medtower.serving.routing import choose

log = logging.getLogger(__name__)
# more than the half that a rollout's candidate gets: its incumbent still answers for an optional part
OPTIONAL_SHARE = 0.75
NOT_MET = "its condition is not met"
NO_PART = "fall under the conditions of no part of the composition"
LATE, MISBEHAVED, DOWN = "it did not answer in time", "its answer was unusable", "it is not available"


AskModel = Callable[[Case, Route, float], Awaitable[Ran]]
AskOwn = Callable[[Arm, Case, float], Awaitable[Inferred]]


def standing(parts: Parts, route: Route, subject: str) -> Arm:
    """The arm that answers for `subject`: the patient's own, the incumbent where its circuit breaker is open."""
    arm = choose(route, subject)
    if arm.name == "candidate" and parts.breakers.is_open(route.model, arm):
        return next((each for each in route.arms if each.name == "current"), arm)
    return arm


class Waves:
    """The composition in the contract of `arm`, asked about `case` until `until` (time.perf_counter)."""

    def __init__(
        self, parts: Parts, case: Case, arm: Arm, until: float, *, ask_model: AskModel, ask_own: AskOwn
    ) -> None:
        self._parts, self._case, self._arm, self._until = parts, case, arm, until
        self._ask_model, self._ask_own = ask_model, ask_own
        self._ran: dict[str, Ran] = {}
        self._results: dict[str, Result] = {}
        self._why_not: dict[str, str] = {}
        self._first_failure: MedtowerError | None = None

    async def answered(self, row: array[float], start: float) -> Composed:
        """Ask every part whose condition is met, and make one answer. `row` is the case as the contract encodes it, `start` when it began.

        Raises what a part failed with, in words that name the part; FeatureInvalid when no part of the synthesis takes the case.
        """
        composition = _composition(self._arm.contract)
        for wave in composition.waves():
            await self._ask_all([part for part in wave if self._is_asked(part)])
        made = synthesis.synthesise(composition, self._results)
        if made is None:
            raise self._first_failure or FeatureInvalid("features", NO_PART)
        whole = Inferred(self._arm, row, made.value, milliseconds_since(start))
        own = self._ran.get(OWN)
        return Composed(
            inferred=whole,
            review=self._review(whole),
            parts=tuple(self._told(part, made) for part in composition.parts),
            ran=tuple(each for ran in self._ran.values() for each in (ran, *ran.composed.ran)),
            own=own.composed.inferred if own else None,
        )

    def _is_asked(self, part: CompositionPart) -> bool:
        if part.when is None or met(part.when, self._case.question.features, self._results):
            return True
        self._why_not[part.name] = NOT_MET
        return False

    async def _ask_all(self, wave: Sequence[CompositionPart]) -> None:
        """Ask the parts at once; the first that fails and is not optional ends the others."""
        try:
            async with asyncio.TaskGroup() as group:
                for part in wave:
                    group.create_task(self._ask(part))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _ask(self, part: CompositionPart) -> None:
        left = max(0.0, self._until - time.perf_counter()) * (OPTIONAL_SHARE if part.optional else 1)
        try:
            async with asyncio.timeout(left):
                ran = await self._asked(part, time.perf_counter() + left)
        except NotFound as error:
            if part.model == OWN:
                raise  # routing moved: the whole is asked again
            self._failed(part, error)
        except (TimeoutError, MedtowerError) as error:
            self._failed(part, error)
        else:
            inferred = ran.composed.inferred
            confidence = inference.confidence(inferred.arm.contract, inferred.value)
            self._ran[part.name] = ran
            self._results[part.name] = Result(inferred.value, confidence)

    async def _asked(self, part: CompositionPart, until: float) -> Ran:
        whole = self._case.question.request_id
        if part.model == OWN:
            case = self._case_of(part, self._case.question.features)
            return Ran(case, Composed.alone(await self._ask_own(self._arm, case, until)), whole)
        route = self._parts.routing.route(part.model)
        arm = standing(self._parts, route, self._case.subject)
        case = self._case_of(part, _given(part, arm.contract, self._case.question))
        ran = await self._ask_model(case, route, until)
        answered = ran.composed.inferred.arm
        # what was checked when routing was loaded is checked again for a version that came since
        if answered.digest not in {each.digest for each in route.arms} and part_misfits(
            self._arm.contract, part, answered.contract
        ):
            raise Unavailable(f"{part.model} {answered.version}", "it does not fit the composition")
        return replace(ran, part_of=whole)

    def _case_of(self, part: CompositionPart, features: Mapping[str, Any]) -> Case:
        question = self._case.question
        asked = Ask(
            request_id=f"{question.request_id}{BETWEEN}{part.name}",
            repeatable=False,
            subject_id=question.subject_id,
            features=features,
            event_time=question.event_time,
        )
        model = self._case.model if part.model == OWN else part.model
        return replace(self._case, model=model, question=asked)

    def _failed(self, part: CompositionPart, error: Exception) -> None:
        """Leave the part out when it is optional, else raise what the composition fails with."""
        why, known = _known(self._arm, self._case.model, part, error, self._parts.triton.deadline)
        extra = {
            "model": self._case.model,
            "version": self._arm.version,
            "part": part.name,
            "reason": str(known),
        }
        log.warning("a part of a composition failed", extra=extra)
        if not part.optional:
            raise known from None
        self._first_failure = self._first_failure or known
        self._why_not[part.name] = why

    def _review(self, whole: Inferred) -> str | None:
        contract = self._arm.contract
        reason = inference.review_reason(contract, inference.confidence(contract, whole.value))
        asking = ((name, ran.composed.review) for name, ran in self._ran.items() if ran.composed.review)
        name, said = next(asking, ("", ""))
        return reason or (f"the part {name} asks for it: {said}" if name else None)

    def _told(self, part: CompositionPart, made: synthesis.Synthesised) -> PartAnswer:
        model = self._case.model if part.model == OWN else part.model
        ran = self._ran.get(part.name)
        if ran is None:
            return PartAnswer(part.name, model, why_not=self._why_not[part.name])
        inferred = ran.composed.inferred
        return PartAnswer(
            name=part.name,
            model=model,
            version=inferred.arm.version,
            digest=inferred.arm.digest,
            prediction=inferred.value,
            unit=inferred.arm.contract.output.unit,
            confidence=self._results[part.name].confidence,
            used=part.name in made.weights,
            why_not=made.why_not.get(part.name),
        )


def _given(part: CompositionPart, theirs: Contract, question: Ask) -> dict[str, Any]:
    """What of the question the part's contract takes, under its names."""
    named = ((name, question.features.get(part.inputs.get(name, name))) for name in theirs.input_names)
    return {name: value for name, value in named if value is not None}


def _known(
    arm: Arm, model: str, part: CompositionPart, error: Exception, seconds: float
) -> tuple[str, MedtowerError]:
    """Why the part is not in the answer, and the composition's error when it cannot do without: of the part's own kind, and naming it."""
    what = f"the part {part.name} ({part.model}) of {model}"
    if isinstance(error, TimeoutError | DeadlineExceeded):
        return LATE, DeadlineExceeded(what, seconds)
    if isinstance(error, ModelMisbehaved):
        return MISBEHAVED, ModelMisbehaved(model, arm.version, f"{what} failed: {error}")
    # a part that refuses what a validated composition gives it is no mistake of the caller
    return DOWN, Unavailable(what, str(error))


def _composition(contract: Contract) -> Composition:
    if contract.composition is None:
        raise LookupError(contract.name)
    return contract.composition
