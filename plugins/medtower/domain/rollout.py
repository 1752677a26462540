"""How a version takes over: the plan that was approved with it, and how far it has got (`traffic.yaml`)."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medtower.domain.contract import Contract
from medtower.domain.contract_part import Name
from medtower.domain.digest import Sha256
from medtower.domain.verdict import Verdict

Strategy = Literal["immediate", "gradual", "staged"]
Percent = Annotated[float, Field(gt=0, le=100)]
COMPLETED_KEPT = 100
_IN_THE_OUTPUTS_UNIT = ("mae", "rmse")


class Plan(BaseModel):
    """The approved way from the incumbent to the new version.

    `immediate` serves everybody at once (a first version, or a signed emergency fix); `gradual` goes through `steps`, percentages of patients;
    `staged` scores in the shadow of the incumbent for `shadow_hours` first. Every stage holds for at least `hold_hours`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strategy: Strategy
    steps: list[Percent] = Field(min_length=1, max_length=20)
    hold_hours: float = Field(ge=0, le=24 * 90)
    shadow_hours: float = Field(0, ge=0, le=24 * 90)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(a >= b for a, b in pairwise(self.steps)) or self.steps[-1] != 100:
            raise ValueError("steps must rise and end with 100")
        if self.strategy == "immediate" and (self.steps != [100] or self.shadow_hours):
            raise ValueError("an immediate plan has the one step 100 and no shadow")
        if (self.strategy == "staged") != (self.shadow_hours > 0):
            raise ValueError("a staged plan, and no other, has shadow_hours")
        return self

    @property
    def stages(self) -> list[float]:
        """The share of patients (percent) at each stage; 0 is the shadow. A release is at stage 0 from its promotion on."""
        return [0.0, *self.steps] if self.strategy == "staged" else list(self.steps)

    def hold_of(self, stage: int) -> float:
        """Hours that `stage` lasts at least."""
        return self.shadow_hours if self.stages[stage] == 0 else self.hold_hours


IMMEDIATE = Plan(strategy="immediate", steps=[100], hold_hours=0)


class Traffic(BaseModel):
    """`traffic.yaml`, written and signed (`traffic.sig`) by the rollout bot only.

    `digest` is the release whose rollout has got to stage `step` (an index into its plan's stages) by `verdicts`. `completed` are the
    releases that served everybody: a revert to one of them serves everybody again at once. Another release's traffic is stale and counts as
    stage 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["medtower/traffic/v1"] = Field("medtower/traffic/v1", alias="schema")
    model: Name
    digest: Sha256
    step: int = Field(ge=1, le=20)
    decided_at: datetime
    verdicts: list[Verdict] = Field(min_length=1)
    completed: list[Sha256] = Field(default=[], max_length=COMPLETED_KEPT)


def stage(plan: Plan, digest: str, traffic: Traffic | None) -> int:
    """The stage (index into `plan.stages`) that the release `digest` has reached; the last one when its rollout is complete."""
    last = len(plan.stages) - 1
    if traffic is None or plan.strategy == "immediate":
        return 0
    if digest in traffic.completed:
        return last
    return min(traffic.step, last) if traffic.digest == digest else 0


def range_unit(contract: Contract, limits: tuple[float, float]) -> float:
    """What the whole output range, `limits`, is in the unit of the quality margin of a regression: its width where the primary metric is in the
    output's unit; 1 for the others (R², squared errors), whose margin counts as a share of the range."""
    low, high = limits
    return high - low if contract.gates.primary in _IN_THE_OUTPUTS_UNIT else 1.0
