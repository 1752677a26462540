"""A question to a model, the row that a contract makes of it, and what a version makes of that."""

from __future__ import annotations

import hmac
import math
import time
from array import array
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, cast

import msgspec

from medtower.domain.contract import Contract
from medtower.domain.inference import encode
from medtower.domain.prediction import Failure
from medtower.domain.routing import Arm, Shadow
from medtower.errors import FeatureInvalid, MedtowerError, ModelMisbehaved
from medtower.gateway.answering.plan import plain_row
from medtower.serving.pseudonym import pseudonym

Code = Literal[422, 502, 503, 504]


class Ask(msgspec.Struct, frozen=True):
    """One question to a model. `repeatable`: the caller chose the request id, so it may come again. `known`: the row that a contract makes of the
    features, where it was made on the way here."""

    request_id: str
    repeatable: bool
    subject_id: str
    features: Mapping[str, Any]
    event_time: datetime
    known: tuple[Contract, array[float]] | None = None


class Case(msgspec.Struct, frozen=True):
    """A question on its way. `subject` is the pseudonym, `received_at` (UTC) when its body had come in."""

    model: str
    question: Ask
    subject: str
    body_sha256: str
    received_at: datetime


class Inferred(msgspec.Struct, frozen=True):
    """What an arm made of a row (encoded by the arm's own contract), the milliseconds Triton took for it, and who scores it in the shadow.
    `cached`: the release had made it of the same row before, and Triton was not asked."""

    arm: Arm
    row: array[float]
    value: float
    latency_ms: float
    shadow: Shadow | None = None
    cached: bool = False


def case_of(key: bytes, model: str, question: Ask, body: bytes, now: datetime) -> Case:
    """The case of a `question` that came in as `body` at `now` (UTC), the patient's identifier replaced by a pseudonym under `key`."""
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
    return hmac.digest(key, model.encode() + b"\0" + body, "sha256").hex()


def encoded(contract: Contract, question: Ask) -> array[float]:
    """The row as the model takes it: float32 [width], NaN for missing. Raises FeatureInvalid."""
    if question.known and question.known[0] is contract:
        return question.known[1]
    plain = plain_row(contract, question.features)
    if plain is not None:
        return plain
    for spec in contract.inputs:
        value = question.features.get(spec.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise FeatureInvalid(spec.name, "must be a finite number")
    row = array("f", encode(contract, question.features))
    if math.inf in row or -math.inf in row:
        spec, place = next(c for c, number in zip(contract.columns, row, strict=True) if math.isinf(number))
        raise FeatureInvalid(spec.column_name(place), "must fit a 32-bit float")
    return row


def usable(model: str, version: Arm | Shadow, value: float) -> float:
    """`value` when it is what the contract of `version` says its answers can be. Raises ModelMisbehaved."""
    if version.contract.task == "classification" and not 0 <= value <= 1:
        raise ModelMisbehaved(model, version.version, "the answer is not a probability in [0, 1]")
    return value


def milliseconds_since(start: float) -> float:
    """From `start` (time.perf_counter) until now."""
    return (time.perf_counter() - start) * 1000


def failure(case: Case, arm: Arm, error: MedtowerError, latency_ms: float, *, opened: bool) -> Failure:
    """What goes on record of an attempt at `case` that `arm` failed at."""
    return Failure(
        request_id=case.question.request_id,
        model=case.model,
        version=arm.version,
        digest=arm.digest,
        arm=arm.name,
        subject=case.subject,
        event_time=case.question.event_time,
        received_at=case.received_at,
        code=cast(Code, error.http_status),
        latency_ms=latency_ms,
        opened=opened,
    )
