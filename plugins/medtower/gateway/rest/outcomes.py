"""Ground truth that comes back: validated like a question, spooled like an answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from medtower.domain.prediction import Outcome
from medtower.domain.routing import Route
from medtower.errors import FeatureInvalid
from medtower.gateway.rest.body import instant, known, request_id

MOST = 1000
FIELDS = {"request_id", "model", "value", "observed_at"}


def parse(value: Any, routes: Mapping[str, Route], now: datetime) -> list[Outcome]:
    """The outcomes in a parsed body, one object or a list of up to 1,000. Raises FeatureInvalid naming the place and the rule."""
    if not isinstance(value, list):
        return [_outcome(value, "body", "", routes, now)]
    if not 0 < len(value) <= MOST:
        raise FeatureInvalid("body", f"must hold 1 to {MOST} outcomes")
    return [_outcome(item, f"[{i}]", f"[{i}].", routes, now) for i, item in enumerate(value)]


def _outcome(value: Any, place: str, prefix: str, routes: Mapping[str, Route], now: datetime) -> Outcome:
    fields = known(value, place, required=FIELDS, optional=set())
    model = fields["model"]
    route = routes.get(model) if isinstance(model, str) else None
    if route is None:
        raise FeatureInvalid(f"{prefix}model", "is not a model of this tower; see GET /api/v1/ml/models")
    return Outcome(
        request_id=request_id(fields["request_id"], f"{prefix}request_id"),
        model=route.model,
        value=_truth(fields["value"], f"{prefix}value", route),
        observed_at=instant(fields["observed_at"], f"{prefix}observed_at", now),
        arrived_at=now,
    )


def _truth(value: Any, field: str, route: Route) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e15:
        raise FeatureInvalid(field, "must be a finite number")
    classes = any(arm.contract.task == "classification" for arm in route.arms)
    if classes and value not in (0, 1):
        raise FeatureInvalid(field, "must be 0 or 1")
    return float(value)
