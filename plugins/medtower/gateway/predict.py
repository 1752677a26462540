"""One question, one answer on record: validate, infer, keep, and only then answer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from medtower.domain.contract import Contract
from medtower.domain.inference import confidence as confidence_of
from medtower.domain.prediction import Prediction
from medtower.gateway.answers import Answer, label, review_reason
from medtower.gateway.arms import infer
from medtower.gateway.case import Case, Inferred, read_case
from medtower.gateway.observed import Seen
from medtower.gateway.parts import Parts


@dataclass(frozen=True)
class Answered:
    """The answer (JSON), and what there is for a shadow to score: nothing when the same request was answered before."""

    answer: str
    case: Case | None = None
    inferred: Inferred | None = None


async def predict(parts: Parts, model: str, body: bytes, seen: Seen) -> Answered:
    """The answer to `body`. It is on the disk when this returns. Raises what errors.py maps to a status; then nothing was answered."""
    case = read_case(parts.subject_key, model, body)
    if case.question.repeatable:
        there = parts.record.answer(case.question.request_id, case.body_sha256)
        if there is not None:
            return _repeated(there, seen)
    inferred = await infer(parts, case, seen)
    prediction = _prediction(case, inferred)
    kept = await parts.record.keep(prediction, _answer(inferred.arm.contract, prediction).model_dump_json())
    if not kept.fresh:
        return _repeated(kept.answer, seen)
    parts.metrics.answered(model, prediction.version, prediction.requires_human_review)
    parts.metrics.asked(model, prediction.version, prediction.arm, "answered")
    return Answered(kept.answer, case, inferred)


async def copied(parts: Parts, answered: Answered) -> None:
    """Have the shadow score what was answered, where there is one. For when the answer is on its way."""
    case, inferred = answered.case, answered.inferred
    if case and inferred and inferred.shadow:
        await parts.shadowing.copy(case, inferred, inferred.shadow)


def _prediction(case: Case, inferred: Inferred) -> Prediction:
    contract = inferred.arm.contract
    confidence = confidence_of(contract, inferred.value)
    return Prediction(
        request_id=case.question.request_id,
        model=case.model,
        version=inferred.arm.version,
        digest=inferred.arm.digest,
        arm=inferred.arm.name,
        subject=case.subject,
        event_time=case.question.event_time,
        received_at=case.received_at,
        features=[None if math.isnan(number) else number for number in inferred.row],
        prediction=inferred.value,
        confidence=confidence,
        requires_human_review=review_reason(contract, confidence) is not None,
        latency_ms=inferred.latency_ms,
        body_sha256=case.body_sha256,
    )


def _answer(contract: Contract, prediction: Prediction) -> Answer:
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
        review_reason=review_reason(contract, prediction.confidence),
    )


def _repeated(answer: str, seen: Seen) -> Answered:
    seen.version = json.loads(answer)["version"]
    return Answered(answer)
