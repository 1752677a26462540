"""One case, one answer on record: infer, keep, and only then answer."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass
from typing import cast

from medtower.domain.escalation import Escalation, due
from medtower.domain.inference import confidence as confidence_of
from medtower.domain.inference import label
from medtower.domain.prediction import Prediction
from medtower.gateway.answering.arms import infer
from medtower.gateway.answering.case import Case, Inferred
from medtower.gateway.answering.composition import compose, composes
from medtower.gateway.answering.composition_answer import Composed
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.privacy.texts import texts_of
from medtower.gateway.rest.answers import Answer, ComposedAnswer


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer (the JSON of `Answer`), and what there is for a shadow to score: nothing when the same request was answered before."""

    answer: str
    prediction: Prediction | None = None
    case: Case | None = None
    inferred: Inferred | None = None


async def predict(parts: Parts, case: Case, seen: Seen) -> Answered:
    """The answer to `case`. It is on the disk when this returns. Raises what errors.py maps to a status; then nothing was answered."""
    seen.request_id = seen.request_id or case.question.request_id
    if seen.trace:
        seen.trace.ended("validate")
    if case.question.repeatable:
        there = parts.record.answer(case.question.request_id, case.body_sha256)
        if there is not None:
            return _repeated(there, seen)
    composed = await _composed(parts, case, seen)
    seen.cached = composed.inferred.cached
    prediction = await _prediction(parts, case, composed, seen.caller)
    rows = [
        await _prediction(parts, ran.case, ran.composed, seen.caller, ran.part_of) for ran in composed.ran
    ]
    escalation = due(composed.inferred.arm.contract, prediction)
    kept = await parts.record.keep(
        prediction,
        _answer(composed, prediction, escalation),
        rows,
        escalation=escalation,
        repeatable=case.question.repeatable,
    )
    if seen.trace:
        seen.trace.ended("record")
    if not kept.fresh:
        return _repeated(kept.answer, seen)
    for each in (prediction, *(row for row, ran in zip(rows, composed.ran, strict=True) if not ran.own)):
        parts.metrics.answered(each.model, each.version, each.requires_human_review)
        parts.metrics.asked(each.model, each.version, each.arm, "answered")
    answer = kept.answer if escalation is None else await parts.escalations.answer(kept.answer, escalation)
    return Answered(answer, prediction, case, composed.own or composed.inferred)


async def _composed(parts: Parts, case: Case, seen: Seen) -> Composed:
    """What answers the case: a composition where an arm of the route is one, else the arm's own weights."""
    route = parts.routing.route(case.model)
    if composes(route):
        return await compose(parts, case, route, seen, infer)
    return Composed.alone(await infer(parts, case, seen))


async def copied(parts: Parts, answered: Answered) -> None:
    """Have the shadow score what was answered, where there is one. For when the answer is on its way."""
    case, inferred = answered.case, answered.inferred
    if case and inferred and inferred.shadow:
        await parts.shadowing.copy(case, inferred, inferred.shadow)


async def _prediction(
    parts: Parts, case: Case, composed: Composed, caller: str, part_of: str = ""
) -> Prediction:
    inferred = composed.inferred
    contract = inferred.arm.contract
    texts = await texts_of(parts.subject_key, contract, case.question.features)
    return Prediction(
        request_id=case.question.request_id,
        model=case.model,
        version=inferred.arm.version,
        digest=inferred.arm.digest,
        arm=inferred.arm.name,
        subject=case.subject,
        event_time=case.question.event_time,
        received_at=case.received_at,
        features=_kept(inferred.row),
        prediction=inferred.value,
        confidence=confidence_of(contract, inferred.value),
        requires_human_review=composed.review is not None,
        latency_ms=inferred.latency_ms,
        body_sha256=case.body_sha256,
        caller=caller,
        part_of=part_of,
        cached=inferred.cached,
        texts=texts,
    )


def _kept(row: array[float]) -> list[float | None]:
    if not math.isnan(sum(row)):
        return cast("list[float | None]", row.tolist())
    return [None if math.isnan(number) else number for number in row]


def _answer(composed: Composed, prediction: Prediction, escalation: Escalation | None) -> str:
    contract = composed.inferred.arm.contract
    answer = Answer.model_construct(
        model=prediction.model,
        version=prediction.version,
        digest=prediction.digest,
        request_id=prediction.request_id,
        prediction=prediction.prediction,
        unit=contract.output.unit,
        label=label(contract, prediction.prediction),
        confidence=prediction.confidence,
        requires_human_review=prediction.requires_human_review,
        review_reason=composed.review,
        cached=prediction.cached,
        escalation="pending" if escalation else None,
    )
    if composed.parts:
        answer = ComposedAnswer.model_construct(**dict(answer), parts=list(composed.parts))
    return answer.model_dump_json()


def _repeated(answer: str, seen: Seen) -> Answered:
    seen.version = json.loads(answer)["version"]
    return Answered(answer)
