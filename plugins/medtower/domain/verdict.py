"""A verdict: PROMOTE, HOLD or ROLLBACK with its evidence. One type for a gate, a canary step and a benchmark."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Decision(StrEnum):
    PROMOTE = "PROMOTE"
    HOLD = "HOLD"
    ROLLBACK = "ROLLBACK"


class Verdict(BaseModel):
    """`evidence` holds numbers a reader can check (n, value, bound, threshold); `reason` is one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["gate", "rollout", "benchmark"]
    name: str
    decision: Decision
    reason: str
    evidence: dict[str, float | int | str | None] = {}

    def __str__(self) -> str:
        return f"{self.name}: {self.decision} ({self.reason})"


def overall(verdicts: list[Verdict]) -> Decision:
    """The worst decision wins; no verdict at all is HOLD, never PROMOTE."""
    if not verdicts:
        return Decision.HOLD
    order = [Decision.ROLLBACK, Decision.HOLD, Decision.PROMOTE]
    return min((v.decision for v in verdicts), key=order.index)
