"""One case, one answer on record: infer, keep, and only then answer."""

from __future__ import annotations

import math
from array import array
from typing import cast

import msgspec

from medtower.domain.escalation import Escalation, due
from medtower.domain.inference import confidence as confidence_of
from medtower.domain.inference import label
from medtower.domain.prediction import Prediction
from medtower.gateway.answering.answer import Answer
from medtower.gateway.answering.arms import infer
from medtower.gateway.answering.case import Case, Inferred
from medtower.gateway.answering.composition import compose, composes
from medtower.gateway.answering.composition_answer import Composed
from medtower.gateway.answering.plan import plan_of
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.privacy.texts import texts_of


class Answered(msgspec.Struct, frozen=True):
    """The answer, and what there is for a shadow to score: nothing when the same request was answered before; then `kept` is the answer's JSON as it
    stands in the spool."""

    answer: Answer
    prediction: Prediction | None = None
    case: Case | None = None
    inferred: Inferred | None = None
    kept: str | None = None

    def json(self) -> bytes:
        """What leaves: for a request that comes again the same bytes, whichever release of the gateway wrote them."""
        return self.answer.json() if self.kept is None else self.kept.encode()


async def predict(parts: Parts, case: Case, seen: Seen) -> Answered:
    """The answer to `case`. It is on the disk when this returns. Raises what errors.py maps to a status; then nothing was answered."""
    seen.request_id = seen.request_id or case.question.request_id
    if seen.trace:
        seen.trace.ended("validate")
    if case.question.repeatable:
        earlier = parts.record.answer(case.question.request_id, case.body_sha256)
        if earlier is not None:
            return _repeated(earlier, seen)
    route = parts.routing.route(case.model)
    if composes(route):
        composed = await compose(parts, case, route, seen, infer)
    else:
        composed = Composed.alone(await infer(parts, case, seen))
    seen.cached = composed.inferred.cached
    prediction = await _prediction(parts, case, composed, seen.caller)
    rows = [
        await _prediction(parts, ran.case, ran.composed, seen.caller, ran.part_of) for ran in composed.ran
    ]
    escalation = due(composed.inferred.arm.contract, prediction)
    answer = _answer(composed, prediction, escalation)
    meanwhile = None  # what a request with the same id was answered while this one was on its way
    if case.question.repeatable or rows or escalation:
        meanwhile = await parts.record.keep(prediction, answer.json().decode(), rows, escalation)
    else:
        await parts.record.keep_unrepeatable(prediction)
    if seen.trace:
        seen.trace.ended("record")
    if meanwhile is not None:
        return _repeated(meanwhile, seen)
    for each in (prediction, *(row for row, ran in zip(rows, composed.ran, strict=True) if not ran.own)):
        parts.metrics.answered(each.model, each.version, each.requires_human_review)
        parts.metrics.asked(each.model, each.version, each.arm, "answered")
    if escalation:
        answer = msgspec.structs.replace(answer, escalation=await parts.escalations.fire(escalation))
    return Answered(answer, prediction, case, composed.own or composed.inferred)


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
    texts = {}
    if plan_of(contract).texts:  # asked of every prediction, and most contracts have none
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


def _answer(composed: Composed, prediction: Prediction, escalation: Escalation | None) -> Answer:
    contract = composed.inferred.arm.contract
    return Answer(
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
        parts=composed.parts or msgspec.UNSET,
    )


def _repeated(content: str, seen: Seen) -> Answered:
    answer = Answer.of(content)
    seen.version = answer.version
    return Answered(answer, kept=content)
