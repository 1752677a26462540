"""A prediction that left the house, and the ground truth that came later."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Prediction(BaseModel):
    """One answered request, as it is kept.

    `subject` is an HMAC pseudonym, never the identifier. `features` are the encoded inputs in the order of the contract
    (float32, NaN for missing is stored as None). `confidence` is in [0, 1]. `latency_ms` is Triton's share.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    model: str
    version: int
    digest: str
    arm: str
    subject: str
    event_time: datetime
    features: list[float | None]
    prediction: float
    confidence: float
    requires_human_review: bool
    latency_ms: float
    body_sha256: str = ""


class Outcome(BaseModel):
    """Ground truth for one prediction. Never overwritten: a correction is a later arrival for the same request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    model: str
    value: float
    observed_at: datetime
    arrived_at: datetime
    source: str = "registry"
