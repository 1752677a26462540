"""What leaves the gateway, as the OpenAPI document shows it. The disclaimer stands in every answer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.routing import Arm, RoutingTable
from medtower.gateway.answering.composition_answer import PartAnswer


class Answer(BaseModel):  # for the document: what leaves is `answering.answer.Answer`
    """One prediction. `label` is there for classification only; `review_reason` is there when human review is asked for."""

    model: str
    version: int
    digest: str = Field(description="sha256 of the release that answered")
    request_id: str
    prediction: float = Field(description="a probability (classification) or a number in `unit` (regression)")
    unit: str = Field(description="UCUM code")
    label: str | None = None
    confidence: float = Field(ge=0, le=1)
    requires_human_review: bool
    review_reason: str | None = None
    escalation: Literal["delivered", "pending"] | None = Field(
        None, description="for an emergency: whether its webhook has taken it, or is still being tried"
    )
    cached: bool = Field(False, description="the release had answered the same features before")
    disclaimer: str = DISCLAIMER


class ComposedAnswer(Answer):
    """The answer of a composition, and what each of its parts had to do with it."""

    parts: list[PartAnswer]


class Question(BaseModel):
    """`features` are named and in the units of the contract (`GET /api/v1/ml/models`). The same `request_id` with the same body gets
    the same answer; `event_time` defaults to now."""

    model_config = ConfigDict(extra="forbid")

    request_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._:-]{1,100}$",
        description="not `m` and 32 hexadecimal digits: those the gateway gives",
    )
    subject_id: str = Field(
        min_length=1, max_length=200, description="kept as a keyed pseudonym, never as it is"
    )
    features: dict[str, float | int | bool | str | list[float] | None]
    event_time: datetime | None = None


class NamedQuestion(Question):
    """A question that says which model is asked."""

    model: str


class OutcomeReport(BaseModel):
    """The ground truth for one prediction. A correction is a later report for the same request."""

    model_config = ConfigDict(extra="forbid")

    request_id: str
    model: str
    value: float = Field(description="0 or 1 (classification) or a number in the output's unit (regression)")
    observed_at: datetime


class Accepted(BaseModel):
    """How many outcomes are on the disk now."""

    accepted: int
    disclaimer: str = DISCLAIMER


class ModelCard(BaseModel):
    """What serves a model, each version with the contract it was approved with. `released` is empty when nothing does; then `reason`
    says why."""

    name: str
    released: list[Arm]
    reason: str


class Models(BaseModel):
    models: list[ModelCard]
    disclaimer: str = DISCLAIMER


class Routing(BaseModel):
    """The newest table of the reconciler that could be read."""

    table: RoutingTable
    disclaimer: str = DISCLAIMER


class Problem(BaseModel):
    """Why there is no answer. `field` and `rule` are there for 422; no value that was sent is ever repeated."""

    error: str
    message: str
    field: str | None = None
    rule: str | None = None
    disclaimer: str = DISCLAIMER
