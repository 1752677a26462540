"""The routing table (`routing.json`): which version takes which share. Published by the reconciler, obeyed by the gateway."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medtower.domain.contract import Contract
from medtower.domain.contract_part import Name
from medtower.domain.digest import Sha256


class Arm(BaseModel):
    """One version in service: `current`, or the `candidate` of a rollout. `weight` is a percentage; `contract` is the one that this version
    was approved with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["current", "candidate"]
    version: int = Field(ge=1)
    digest: Sha256
    weight: float = Field(gt=0, le=100)
    contract: Contract


class Shadow(BaseModel):
    """A version that scores what the arms answer, and answers nobody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    digest: Sha256
    contract: Contract


class Route(BaseModel):
    """Where one model's requests go: `current` first, in a rollout its `candidate` second.

    No arms: the model is released as 'no model' or nothing is ready, and `reason` says why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name
    arms: list[Arm] = []
    shadow: Shadow | None = None
    reason: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Route:
        if self.arms and abs(sum(a.weight for a in self.arms) - 100) > 1e-9:
            raise ValueError("the weights of a route's arms must add up to 100")
        if self.shadow and len(self.arms) != 1:
            raise ValueError("a shadow goes with exactly one arm that answers")
        return self

    @property
    def newest(self) -> int | None:
        """The version that takes over or has taken over: the candidate's, the shadow's, else the only arm's; None when nothing answers."""
        if self.shadow:
            return self.shadow.version
        return self.arms[-1].version if self.arms else None

    @property
    def versions(self) -> set[int]:
        """Every version that requests are sent to, the shadow's among them."""
        return {arm.version for arm in self.arms} | ({self.shadow.version} if self.shadow else set())


class RoutingTable(BaseModel):
    """`commit` is the git commit that the table was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str
    published_at: datetime
    routes: dict[Name, Route]


ShareName = Literal["current", "candidate", "shadow"]


@dataclass(frozen=True)
class Share:
    """What one version gets of a model's requests: `weight` percent of the patients; the shadow has 0, it answers nobody."""

    arm: ShareName
    version: int
    weight: float


SHARE = re.compile(r"(current|candidate|shadow):([1-9][0-9]{0,15})@([0-9]+(?:\.[0-9]+)?(?:e-[0-9]+)?)")


def shares(route: Route | None) -> tuple[Share, ...]:
    """Who gets what by `route`: `current` first; empty when nothing answers."""
    if route is None:
        return ()
    answering = [Share(arm.name, arm.version, arm.weight) for arm in route.arms]
    return (*answering, *([Share("shadow", route.shadow.version, 0.0)] if route.shadow else []))


def format_shares(found: Sequence[Share]) -> str:
    """`current:3@95,candidate:4@5`, as the audit events of the reconciler say it; empty for no shares. `parse_shares` reads it back exactly."""
    return ",".join(f"{s.arm}:{s.version}@{str(s.weight).removesuffix('.0')}" for s in found)


def parse_shares(text: str) -> tuple[Share, ...]:
    """What `format_shares` wrote. Raises ValueError for anything else."""
    found = []
    for part in text.split(",") if text else []:
        match = SHARE.fullmatch(part)
        if match is None:
            raise ValueError("shares must read ARM:VERSION@PERCENT, with commas between them")
        found.append(Share(cast(ShareName, match[1]), int(match[2]), float(match[3])))
    return tuple(found)
