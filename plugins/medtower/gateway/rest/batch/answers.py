"""What leaves the gateway about a batch job, as the OpenAPI document shows it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway.rest.batch.columns import Format
from medtower.gateway.rest.batch.job import State
from medtower.gateway.rest.shown import AT, example


class BatchJob(BaseModel):
    """How far a job is. `done` rows have a result; those counted in `failed` have an error in place of a prediction, and are counted by what it says."""

    model_config = example(
        id="0123456789abcdef0123456789abcdef", model="als_risk", format="csv", state="running", rows=20000, done=8064,
        failed={"age: must be in [18, 110] a": 12}, submitted_at=AT, started_at=AT, ended_at=None, expires_at="2026-02-07T09:30:00Z",
        rows_per_second=812.5, eta_seconds=14.7, waiting_for=None, problem=None,
    )  # fmt: skip

    id: str
    model: str
    format: Format
    state: State
    rows: int | None = Field(description="null until the file was read")
    done: int
    failed: dict[str, int]
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime = Field(description="when everything about it is deleted")
    rows_per_second: float | None
    eta_seconds: float | None
    waiting_for: str | None = Field(description="the part that is down, while the job cannot go on")
    problem: str | None = Field(description="why the whole file was refused")
    disclaimer: str = DISCLAIMER
