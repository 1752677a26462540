"""What a drift test says about one feature of one model in one window."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Severity(StrEnum):
    NONE = "none"
    MODERATE = "moderate"
    SEVERE = "severe"
    NO_VARIANCE = "no variance"
    INSUFFICIENT = "insufficient data"

    @property
    def alarming(self) -> bool:
        return self in (Severity.MODERATE, Severity.SEVERE)


class DriftFinding(BaseModel):
    """`p_value` and Benjamini–Hochberg `q_value` say whether, `effect` (PSI) says how much. None where not testable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    feature: str
    test: str
    statistic: float | None
    p_value: float | None
    q_value: float | None
    effect: float | None
    n_reference: int
    n_current: int
    severity: Severity


class DriftReport(BaseModel):
    """All features of one model in one window, plus the model's own output as the feature `prediction`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: int
    window_start: datetime
    window_end: datetime
    findings: list[DriftFinding]

    @property
    def drifted(self) -> list[DriftFinding]:
        return [f for f in self.findings if f.severity.alarming]
