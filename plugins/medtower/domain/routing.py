"""The routing table (`routing.json`): which version takes which share. Published by the reconciler, obeyed by the gateway."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medtower.domain.contract import Contract, Name
from medtower.domain.release import Sha256


class Arm(BaseModel):
    """One version in service. `weight` is a percentage; `contract` is the one that this version was approved with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int = Field(ge=1)
    digest: Sha256
    weight: float = Field(gt=0, le=100)
    contract: Contract


class Route(BaseModel):
    """Where one model's requests go. No arms: the model is released as 'no model' or nothing is ready, and `reason` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name
    arms: list[Arm] = []
    reason: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Route:
        if self.arms and abs(sum(a.weight for a in self.arms) - 100) > 1e-9:
            raise ValueError("the weights of a route's arms must add up to 100")
        return self


class RoutingTable(BaseModel):
    """`commit` is the git commit that the table was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str
    published_at: datetime
    routes: dict[Name, Route]
