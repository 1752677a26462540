"""The part of a contract that says how a version takes over, and how much worse than the incumbent it may be shown to be."""

from __future__ import annotations

from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from medtower.domain.contract_part import Part


class Margins(Part):
    """How much worse than the incumbent a candidate may be shown to be at most (non-inferiority): `quality` on the primary metric (in its own
    unit), `latency_ratio` on the latency quantile, `error_rate` as a difference of proportions, `disagreement` as the share of label-free
    answers that fall on another side than the incumbent's."""

    quality: float = Field(0.02, gt=0)
    latency_ratio: float = Field(1.5, gt=1)
    error_rate: float = Field(0.01, gt=0, lt=1)
    disagreement: float = Field(0.15, gt=0, lt=1)


class Rollout(Part):
    """How a version takes over: `steps` in percent of patients, each held for `hold_hours`, after `shadow_hours` in the incumbent's shadow when
    the evidence asks for it. A step needs `min_samples` effective requests per arm; all tests of one rollout together err with probability
    `alpha` at most, however often they are read."""

    steps: list[float] = [5, 10, 25, 50, 100]
    hold_hours: float = Field(24, ge=0, le=24 * 90)
    shadow_hours: float = Field(24, gt=0, le=24 * 90)
    min_samples: int = Field(200, ge=20)
    alpha: float = Field(0.05, gt=0, lt=0.5)
    latency_quantile: float = Field(0.95, gt=0, lt=1)
    margins: Margins = Margins()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.steps or any(a >= b for a, b in pairwise([0, *self.steps])) or self.steps[-1] != 100:
            raise ValueError(
                "rollout: steps must rise from above 0 and end with 100, as [5, 10, 25, 50, 100]"
            )
        if len(self.steps) > 19:
            raise ValueError("rollout: at most 19 steps")
        return self
