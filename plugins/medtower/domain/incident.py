"""Something went wrong with a model, and what was done about it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

IncidentKind = Literal["kpi", "drift", "rollback", "reconcile", "availability"]


class Incident(BaseModel):
    """`key` makes opening idempotent: a second incident with the same key is the same incident."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    model: str
    version: int | None
    kind: IncidentKind
    severity: Literal["warning", "critical"]
    summary: str
    opened_at: datetime
    closed_at: datetime | None = None
    resolution: str | None = None
