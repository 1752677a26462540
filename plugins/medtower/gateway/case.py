"""A question that could be read, the row that a contract makes of it, and what a version makes of that."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime

from medtower.domain.contract import Contract
from medtower.domain.inference import encode
from medtower.domain.routing import Arm, Shadow
from medtower.errors import FeatureInvalid, ModelMisbehaved
from medtower.gateway.body import Ask, ask, strict_json
from medtower.gateway.inference import Triton
from medtower.serving.pseudonym import pseudonym


@dataclass(frozen=True)
class Case:
    """A question that could be read. `subject` is the pseudonym, `received_at` (UTC) when its body had come in."""

    model: str
    question: Ask
    subject: str
    body_sha256: str
    received_at: datetime


@dataclass(frozen=True)
class Inferred:
    """What an arm made of a row (encoded by the arm's own contract), the milliseconds Triton took for it, and who scores it in the shadow."""

    arm: Arm
    row: array[float]
    value: float
    latency_ms: float
    shadow: Shadow | None = None


def read_case(key: bytes, model: str, body: bytes) -> Case:
    """The question in `body`, the patient's identifier replaced by a pseudonym under `key`. Raises FeatureInvalid."""
    now = datetime.now(UTC)
    question = ask(strict_json(body), now)
    return Case(
        model=model,
        question=question,
        subject=pseudonym(key, question.subject_id),
        body_sha256=fingerprint(key, model, body),
        received_at=now,
    )


def fingerprint(key: bytes, model: str, body: bytes) -> str:
    """HMAC-SHA256 of the body and the model it was sent to. Keyed: a plain hash beside the kept features would give away the subject
    to whoever tries all identifiers."""
    return hmac.new(key, model.encode() + b"\0" + body, hashlib.sha256).hexdigest()


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


async def scored(
    triton: Triton, model: str, version: Arm | Shadow, row: array[float], seconds: float
) -> float:
    """What `version` answers to `row`, checked against what its contract says it can be. Raises as `Triton.infer`."""
    value = await triton.infer(model, version.version, row, seconds=seconds)
    if version.contract.task == "classification" and not 0 <= value <= 1:
        raise ModelMisbehaved(model, version.version, "the answer is not a probability in [0, 1]")
    return value


def milliseconds_since(start: float) -> float:
    """From `start` (time.perf_counter) until now."""
    return (time.perf_counter() - start) * 1000
