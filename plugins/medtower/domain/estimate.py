"""A number that says how much it knows: value, interval, n, and a status that may be 'insufficient data'."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    INSUFFICIENT = "insufficient data"

    @property
    def gauge(self) -> int:
        """The number this status has as a Prometheus gauge."""
        return {"ok": 0, "warning": 1, "critical": 2, "insufficient data": -1}[self.value]


class Estimate(BaseModel):
    """One metric on one population. `value`, `lower`, `upper` are None exactly when the data do not suffice.

    `lower` and `upper` bound a two-sided interval at `confidence`; `method` names how it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    population: str = "all"
    n: int
    value: float | None
    lower: float | None
    upper: float | None
    confidence: float = 0.95
    method: str = ""

    @property
    def known(self) -> bool:
        return self.value is not None


class CalibrationReport(BaseModel):
    """Expected calibration error, and slope and intercept of the logistic recalibration (Cox 1958)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int
    ece: float | None
    slope: float | None
    intercept: float | None
    bins: list[dict[str, float | int]] = []


class EvaluationReport(BaseModel):
    """What one version is worth on one holdout: overall and by population (`name=level`), with calibration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    n: int
    positives: int | None
    estimates: list[Estimate]
    calibration: CalibrationReport | None
    holdout_sha256: str
    evaluated_at: datetime
    notes: list[str] = []

    def get(self, metric: str, population: str = "all") -> Estimate | None:
        """The estimate of `metric` on `population`, or None when it was not evaluated."""
        return next((e for e in self.estimates if e.metric == metric and e.population == population), None)
