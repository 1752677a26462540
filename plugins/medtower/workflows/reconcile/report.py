"""What one pass of the reconciler did."""

from __future__ import annotations

import re
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from medtower.domain.routing import Share


class ModelOutcome(BaseModel):
    """One model after a pass: the version that git wants to take over, the one that does (None: none), and the failure if there was one.

    `shares` are all versions that requests are sent to, `stage` the one of the rollout (None while nothing is verified). `failure` is the
    error's class in snake case (a metric's label), `reason` its message or the release's own reason. `fetching`: weights are on their way.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    desired: int | None
    served: int | None
    shares: tuple[Share, ...] = ()
    stage: int | None = None
    failure: str | None = None
    fetching: bool = False
    reason: str = ""

    def __str__(self) -> str:
        if self.failure or self.fetching:
            return f"{self.model}: {self.served or 'no version'} serves, {self.desired} is desired: {self.reason}"
        return f"{self.model}: {self.served or 'no version'} serves, as git says"


class ReconcileReport(BaseModel):
    """A whole pass over all models of `commit`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str
    finished_at: datetime
    outcomes: list[ModelOutcome]

    @property
    def ok(self) -> bool:
        """Every model is as git says, or its weights are on their way."""
        return all(o.failure is None for o in self.outcomes)

    @property
    def fetching(self) -> bool:
        return any(o.fetching for o in self.outcomes)

    def get(self, model: str) -> ModelOutcome:
        return next(o for o in self.outcomes if o.model == model)


LONGEST_REASON = 1000


def failure_text(error: Exception) -> str:
    """What the error says, as any log, metric, table or JSON document can hold it: a pusher chooses names that errors repeat."""
    said = str(error)[:LONGEST_REASON]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in said)


def failure_name(error: Exception) -> str:
    """`DigestMismatch` → `digest_mismatch`: a closed set of label values."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
