"""What every part of a contract is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of every part of a contract: unknown keys are errors, values are frozen, numbers are finite (JSON has no infinity)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
