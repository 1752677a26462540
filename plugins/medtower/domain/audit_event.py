"""One thing that happened, as the hash-chained audit trail keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

GENESIS = "0" * 64
"""What stands in `previous` of the first event."""


class AuditEvent(BaseModel):
    """`details` must be JSON and free of PHI. `__str__` reads as a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%SZ} {self.actor} {self.action} {self.subject}"


class ChainedEvent(BaseModel):
    """An audit event in its place: `sequence` counts from 1 without gaps, `digest` covers `previous` and the event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    event: AuditEvent
    previous: str
    digest: str
