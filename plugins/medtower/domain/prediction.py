"""A prediction that left the house, the ground truth that came later, and what a version failed at or said in the shadow."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

import msgspec

_encoder = msgspec.json.Encoder()


class _Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept: made of parts that were checked on their way. The database checks it when it gets there, and `of` where it is read back here."""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of its fields, in order."""
        return cls.__struct_fields__

    @classmethod
    def of(cls, content: str | bytes) -> Self:
        """The row whose JSON is `content`. Raises ValueError for what is none."""
        return msgspec.json.decode(content, type=cls)

    def json(self) -> str:
        """The row as JSON, on one line."""
        return _encoder.encode(self).decode()


class RedactedText(_Row, frozen=True, kw_only=True):
    """What is kept of a free text: its redacted form, and the keyed hash (HMAC-SHA256) of the text as it came."""

    redacted: str
    sha256: str


class Prediction(_Row, frozen=True, kw_only=True):
    """One answered request, as it is kept.

    `subject` is an HMAC pseudonym, never the identifier. `features` are the encoded inputs in the order of the contract
    (float32, NaN for missing is stored as None). `confidence` is in [0, 1]. `latency_ms` is Triton's share. `event_time` is what the caller says
    the case is of; `received_at` is the gateway's own clock when the request had come in, and the only time that a rollout is judged by.
    `caller` is the id of the key, or the pseudonym of the person, that asked. `part_of` is the request id of the composition that this was a part of.
    `cached`: the same release had answered the same row before, and Triton was not asked again. `texts` are the free texts, by field.
    """

    request_id: str
    model: str
    version: int
    digest: str
    arm: str
    subject: str
    event_time: datetime
    received_at: datetime
    features: list[float | None]
    prediction: float
    confidence: float
    requires_human_review: bool
    latency_ms: float
    body_sha256: str = ""
    caller: str = ""
    part_of: str = ""
    cached: bool = False
    texts: dict[str, RedactedText] = {}


class Outcome(_Row, frozen=True, kw_only=True):
    """Ground truth for one prediction. Never overwritten: a correction is a later arrival for the same request."""

    request_id: str
    model: str
    value: float
    observed_at: datetime
    arrived_at: datetime
    source: str = "registry"


class Failure(_Row, frozen=True, kw_only=True):
    """One attempt at which a version gave no usable answer. The request may have been answered all the same, by the incumbent of a rollout.

    `code` is the status that it would have been: 502 (nonsense), 503 (not there), 504 (too late), or 422 when a candidate's contract refuses what
    its incumbent's accepts. A request that breaks every contract is the caller's mistake and no failure. `latency_ms` is how long the
    attempt took. `event_time` and `received_at` are as in `Prediction`. `opened`: with this failure the circuit breaker of the candidate opened, and no patient came to it any more.
    """

    request_id: str
    model: str
    version: int
    digest: str
    arm: Literal["current", "candidate"]
    subject: str
    event_time: datetime
    received_at: datetime
    code: Literal[422, 502, 503, 504]
    latency_ms: float
    opened: bool = False


class Shadowed(_Row, frozen=True, kw_only=True):
    """What a version in the shadow made of a request that `current_version` answered; `prediction` is None when it failed at it.

    `disagrees`: what the patient would have been told is materially another thing. A failure is no disagreement. `event_time` and `received_at` are those of the request.
    """

    request_id: str
    model: str
    version: int
    digest: str
    subject: str
    event_time: datetime
    received_at: datetime
    prediction: float | None
    latency_ms: float
    current_version: int
    current_prediction: float
    current_latency_ms: float
    disagrees: bool


Recorded = Prediction | Outcome | Failure | Shadowed
KINDS: dict[str, type[Recorded]] = {
    "prediction": Prediction,
    "outcome": Outcome,
    "failure": Failure,
    "shadow": Shadowed,
}
"""What is recorded, by the name under which it waits for the database."""
