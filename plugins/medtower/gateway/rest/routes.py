"""The paths. Each parses, calls and answers; errors leave through problems.py."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from medtower.domain.access import Caller
from medtower.domain.routing import Route
from medtower.errors import RecordUnavailable, Unavailable
from medtower.gateway.access.caller import may
from medtower.gateway.parts import Parts
from medtower.gateway.rest import outcomes
from medtower.gateway.rest.answers import (
    Accepted,
    ModelCard,
    Models,
    OutcomeReport,
    Problem,
    Routing,
)
from medtower.gateway.rest.body import read, strict_json
from medtower.gateway.rest.refusals import refusals

log = logging.getLogger(__name__)
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": description}
    for code, description in {
        401: "no login, or one that does not count",
        403: "the role of this login does not include it",
        408: "the body did not come in within 10 s",
        413: "the body is larger than 256 KiB",
        422: "a field breaks a rule; both are named, the value is not repeated",
        429: "too many requests at once; Retry-After says when to come back",
        503: "the model, Triton or the durable record is not there; nothing was answered",
    }.items()
}
OUTCOME = OutcomeReport.model_json_schema()
OUTCOMES = {"anyOf": [OUTCOME, {"type": "array", "items": OUTCOME, "minItems": 1, "maxItems": outcomes.MOST}]}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the OpenAPI document that describes a body the gateway parses itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def api() -> APIRouter:
    """What is under /api/v1/ml beside predictions."""
    router = APIRouter(prefix="/api/v1/ml", tags=["models"])
    router.post(
        "/outcomes",
        dependencies=[may("outcome")],
        summary="Report what really happened, one outcome or a list",
        status_code=202,
        response_model=Accepted,
        responses=REFUSALS,
        openapi_extra=body(OUTCOMES),
    )(post_outcomes)
    router.get(
        "/models",
        dependencies=[may("models")],
        summary="What serves, with the contracts",
        response_model=Models,
        responses=refusals(503),
    )(get_models)
    router.get(
        "/routing",
        dependencies=[may("operate")],
        summary="The routing table that requests follow",
        response_model=Routing,
        responses=refusals(503),
    )(get_routing)
    return router


async def post_outcomes(request: Request) -> Response:
    """Ground truth, which may come late and may be corrected. All of a list is kept, or none."""
    parts: Parts = request.app.state.parts
    found = outcomes.parse(
        strict_json(await read(request.scope, request.receive)),
        _seen_by(request),
        datetime.now(UTC),
    )
    await parts.record.keep_outcomes(found)
    return Response(Accepted(accepted=len(found)).model_dump_json(), 202, media_type="application/json")


async def get_models(request: Request) -> Models:
    routes = _seen_by(request).values()
    return Models(models=[ModelCard(name=r.model, released=r.arms, reason=r.reason) for r in routes])


def _seen_by(request: Request) -> dict[str, Route]:
    """The routes of the models that the caller may know of."""
    parts: Parts = request.app.state.parts
    caller: Caller = request.state.caller
    return {name: route for name, route in parts.routing.table().routes.items() if caller.sees(name)}


async def get_routing(request: Request) -> Routing:
    parts: Parts = request.app.state.parts
    return Routing(table=parts.routing.table())


def operations() -> APIRouter:
    """Health and metrics: open on this machine, behind a login from elsewhere."""
    router = APIRouter(tags=["operations"], dependencies=[may("operate")])
    router.get("/health/live", summary="The process answers")(live)
    router.get("/health/ready", summary="It has a routing table and keeps the record")(ready)
    router.get("/metrics", summary="Prometheus metrics", response_class=Response)(metrics)
    return router


async def live() -> dict[str, str]:
    return {"status": "live"}


async def ready(request: Request) -> JSONResponse:
    """200 when a routing table was read and the spool took a row just now, else 503 with the reasons."""
    parts: Parts = request.app.state.parts
    reasons = []
    try:
        parts.routing.table()
    except Unavailable as error:
        reasons.append(str(error))
    try:
        await parts.record.probe()
    except RecordUnavailable as error:
        reasons.append(str(error))
    status = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return JSONResponse(status, 503 if reasons else 200)


async def metrics(request: Request) -> Response:
    parts: Parts = request.app.state.parts
    gauges = parts.metrics
    try:
        depth, oldest = parts.record.spool.depth()
        gauges.spool_depth.set(depth)
        gauges.spool_oldest.set(oldest)
        pending, waited = parts.record.spool.escalation_depth()
        gauges.escalations_pending.set(pending)
        gauges.escalations_oldest.set(waited)
        await parts.record.probe()
        gauges.spool_writable.set(1)
    except RecordUnavailable:
        gauges.spool_writable.set(0)
    gauges.breakers(parts.routing.candidates(), parts.breakers.is_open)
    gauges.circuits(parts.circuits.open())
    gauges.withheld(parts.routing.all_withheld())
    gauges.routing_age.set(parts.routing.age(time.time()))
    gauges.triton_up.set(await parts.triton.ready())
    return Response(gauges.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
