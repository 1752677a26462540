"""What leaves the gateway about what it has answered, as the OpenAPI document shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.estimate import Status

AT = "2026-01-31T09:30:00Z"
EARLIER = "2026-01-30T09:30:00Z"


def example(**values: Any) -> ConfigDict:
    """The configuration of a model with an example for the documentation."""
    return ConfigDict(json_schema_extra={"example": values | {"disclaimer": DISCLAIMER}})


class PastPrediction(BaseModel):
    """One prediction that was answered. `subject` is the keyed pseudonym; features and texts are not shown."""

    request_id: str
    model: str
    version: int
    digest: str = Field(description="sha256 of the release that answered")
    arm: str
    subject: str
    event_time: datetime = Field(description="when the case was, as the caller said")
    received_at: datetime = Field(description="when the request came in, by the gateway's clock")
    recorded_at: datetime = Field(description="when Postgres got it")
    prediction: float
    confidence: float
    requires_human_review: bool
    cached: bool
    caller: str = Field(description="id of the key, or pseudonym of the person, that asked")
    part_of: str = Field(description="request id of the composition that it was a part of, else empty")


PAST = {
    "request_id": "example-1", "model": "als_risk", "version": 3, "digest": "a" * 64, "arm": "current", "subject": "5" * 64, "event_time": AT,
    "received_at": AT, "recorded_at": AT, "prediction": 0.82, "confidence": 0.82, "requires_human_review": False, "cached": False,
    "caller": "ward-7", "part_of": "",
}  # fmt: skip


class History(BaseModel):
    """A page, newest first. `next` is the `before` of the following page, null on the last one. `not_yet_shown`: so many rows of the record (predictions, outcomes,
    failures) were on this machine's disk and not in Postgres yet; what they hold is on no page."""

    model_config = example(predictions=[PAST], next="1769851800000000~example-1", not_yet_shown=0)

    predictions: list[PastPrediction]
    next: str | None
    not_yet_shown: int
    disclaimer: str = DISCLAIMER


class Number(BaseModel):
    """A number with its two-sided interval at `confidence`, over `n`. Where n does not suffice, `value` and the bounds are null and `status` says
    'insufficient data'. `status` compares the number with the contract's promise where there is one; null where nothing was promised."""

    metric: str
    population: str = "all"
    n: int
    value: float | None
    lower: float | None
    upper: float | None
    confidence: float = 0.95
    method: str = ""
    status: Status | None = None


class Measured(BaseModel):
    """What tracking (or the benchmark) measured of a version in the window that ended last, by outcomes that had come by `as_of`."""

    version: int
    kind: str
    window_start: datetime
    window_end: datetime
    as_of: datetime
    label_coverage: float | None = Field(
        description="labelled share of what should have had an outcome; null when nothing should"
    )
    numbers: list[Number]


class Served(BaseModel):
    """What the record says of a version in the asked hours. `answered` and `failed` count its attempts; `model_milliseconds` are Triton's share of the time."""

    version: int
    answered: int
    cached: int
    failed: dict[str, int] = Field(description="by the status that the failure stands for")
    numbers: list[Number]


NUMBER = {
    "metric": "error_rate", "population": "all", "n": 420, "value": 0.0048, "lower": 0.0013, "upper": 0.0172, "confidence": 0.95,
    "method": "Wilson", "status": None,
}  # fmt: skip
NO_NUMBER = {
    "metric": "label_coverage", "population": "all", "n": 0, "value": None, "lower": None, "upper": None, "confidence": 0.95,
    "method": "Wilson", "status": "insufficient data",
}  # fmt: skip


class Performance(BaseModel):
    """How a model does. `not_yet_counted` rows of the record are not in Postgres yet."""

    model_config = example(
        model="als_risk",
        since=EARLIER,
        until=AT,
        served=[{"version": 3, "answered": 418, "cached": 0, "failed": {"503": 2}, "numbers": [NUMBER, NO_NUMBER]}],
        measured=[
            {
                "version": 3, "kind": "tracking", "window_start": "2026-01-17T00:00:00Z", "window_end": "2026-01-31T00:00:00Z",
                "as_of": "2026-01-31T02:00:00Z", "label_coverage": 0.93,
                "numbers": [NUMBER | {"metric": "auc_roc", "n": 390, "value": 0.91, "lower": 0.88, "upper": 0.94, "method": "DeLong, logit", "status": "ok"}],
            }
        ],
        last_tracked="2026-01-31T02:00:05Z",
        not_yet_counted=0,
    )  # fmt: skip

    model: str
    since: datetime
    until: datetime
    served: list[Served]
    measured: list[Measured]
    last_tracked: datetime | None = Field(description="when tracking last finished; null: never")
    not_yet_counted: int
    disclaimer: str = DISCLAIMER


class Requests(BaseModel):
    """Requests that came to an arm in the window and ended with `code`: 200 was answered, anything else is what the arm failed with."""

    model: str
    version: int
    arm: str
    code: int
    n: int


class OpenBreaker(BaseModel):
    """The circuit breaker of a rollout's candidate. Open: the incumbent takes the candidate's patients."""

    model: str
    version: int
    open: bool


class Waiting(BaseModel):
    """Rows of the record on this machine's disk that Postgres does not have yet."""

    rows: int
    oldest_seconds: float


class Stats(BaseModel):
    """What came and what waits. `uptime_seconds` is this process's."""

    model_config = example(
        since=EARLIER,
        until=AT,
        requests=[{"model": "als_risk", "version": 3, "arm": "current", "code": 200, "n": 418}],
        breakers=[{"model": "als_risk", "version": 4, "open": False}],
        spool={"rows": 0, "oldest_seconds": 0},
        uptime_seconds=86400,
    )

    since: datetime
    until: datetime
    requests: list[Requests]
    breakers: list[OpenBreaker]
    spool: Waiting
    uptime_seconds: float
    disclaimer: str = DISCLAIMER
