"""One question, one answer on record: validate, choose the arm, infer, keep, and only then answer."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime

from medtower.domain.contract import Contract
from medtower.domain.inference import confidence as confidence_of
from medtower.domain.inference import encode
from medtower.domain.prediction import Prediction
from medtower.domain.routing import Arm
from medtower.errors import FeatureInvalid, ModelMisbehaved, NotFound, Unavailable
from medtower.gateway.answers import Answer, label, review_reason
from medtower.gateway.body import Ask, ask, strict_json
from medtower.gateway.observed import Seen
from medtower.gateway.parts import Parts
from medtower.serving.pseudonym import pseudonym
from medtower.serving.routing import choose


@dataclass(frozen=True)
class Case:
    """A question that could be read. `subject` is the pseudonym."""

    model: str
    question: Ask
    subject: str
    body_sha256: str


@dataclass(frozen=True)
class Inferred:
    """What an arm made of a row (encoded by the arm's own contract), and the milliseconds Triton took for it."""

    arm: Arm
    row: array[float]
    value: float
    latency_ms: float


async def predict(parts: Parts, model: str, body: bytes, seen: Seen) -> str:
    """The answer (JSON) to `body`. It is on the disk when this returns. Raises what errors.py maps to a status; then nothing was answered."""
    case = _case(parts, model, body)
    if case.question.repeatable:
        there = parts.record.answer(case.question.request_id, case.body_sha256)
        if there is not None:
            return _repeated(there, seen)
    inferred = await _infer(parts, case, seen)
    prediction = _prediction(case, inferred)
    kept = await parts.record.keep(prediction, _answer(inferred.arm.contract, prediction).model_dump_json())
    if not kept.fresh:
        return _repeated(kept.answer, seen)
    parts.metrics.answered(model, prediction.version, prediction.requires_human_review)
    return kept.answer


def encoded(contract: Contract, question: Ask) -> array[float]:
    """The row as the model takes it: float32 [inputs], NaN for missing. Raises FeatureInvalid."""
    for spec in contract.inputs:
        value = question.features.get(spec.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise FeatureInvalid(spec.name, "must be a finite number")
    row = array("f", encode(contract, question.features))
    for spec, number in zip(contract.inputs, row, strict=True):
        if math.isinf(number):
            raise FeatureInvalid(spec.name, "must fit a 32-bit float")
    return row


def fingerprint(key: bytes, model: str, body: bytes) -> str:
    """HMAC-SHA256 of the body and the model it was sent to. Keyed: a plain hash beside the kept features would give away the subject
    to whoever tries all identifiers."""
    return hmac.new(key, model.encode() + b"\0" + body, hashlib.sha256).hexdigest()


def _case(parts: Parts, model: str, body: bytes) -> Case:
    question = ask(strict_json(body), datetime.now(UTC))
    return Case(
        model=model,
        question=question,
        subject=pseudonym(parts.subject_key, question.subject_id),
        body_sha256=fingerprint(parts.subject_key, model, body),
    )


async def _infer(parts: Parts, case: Case, seen: Seen) -> Inferred:
    try:
        return await _infer_once(parts, case, seen)
    except NotFound:  # routing moved between the choice and the call; Triton took nothing
        parts.routing.refresh()
    try:
        return await _infer_once(parts, case, seen)
    except NotFound:
        raise Unavailable(f"{case.model} {seen.version}", "Triton does not serve it") from None


async def _infer_once(parts: Parts, case: Case, seen: Seen) -> Inferred:
    arm = choose(parts.routing.route(case.model), case.subject)
    seen.version = arm.version
    row = encoded(arm.contract, case.question)
    start = time.perf_counter()
    value = await parts.triton.infer(case.model, arm.version, row)
    elapsed = (time.perf_counter() - start) * 1000
    if arm.contract.task == "classification" and not 0 <= value <= 1:
        raise ModelMisbehaved(case.model, arm.version, "the answer is not a probability in [0, 1]")
    return Inferred(arm, row, value, elapsed)


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


def _repeated(answer: str, seen: Seen) -> str:
    seen.version = json.loads(answer)["version"]
    return answer
