"""The paths. Each parses, calls and answers; errors leave through problems.py."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response

from medtower.errors import RecordUnavailable, Unavailable
from medtower.gateway import outcomes
from medtower.gateway.access import FromHere, WithKey
from medtower.gateway.answers import Accepted, Answer, ModelCard, Models, OutcomeReport, Problem, Question
from medtower.gateway.body import read, strict_json
from medtower.gateway.parts import Parts
from medtower.gateway.predict import copied, predict

log = logging.getLogger(__name__)
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": description}
    for code, description in {
        401: "no or a wrong X-API-Key",
        408: "the body did not come in within 10 s",
        413: "the body is larger than 256 KiB",
        422: "a field breaks a rule; both are named, the value is not repeated",
        503: "the model, Triton or the durable record is not there; nothing was answered",
    }.items()
}
PREDICT_REFUSALS = REFUSALS | {
    code: {"model": Problem, "description": description}
    for code, description in {
        404: "no such model",
        409: "the request id was used for another body, or so long ago that its answer is not kept for repetition",
        502: "the model answered nonsense, which is withheld",
        504: "Triton did not answer in time",
    }.items()
}
OUTCOME = OutcomeReport.model_json_schema()
OUTCOMES = {"anyOf": [OUTCOME, {"type": "array", "items": OUTCOME, "minItems": 1, "maxItems": outcomes.MOST}]}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """The part of the OpenAPI document that describes a body the gateway parses itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def api() -> APIRouter:
    """Everything under /api/v1/ml, behind the key."""
    router = APIRouter(prefix="/api/v1/ml", tags=["models"], dependencies=[WithKey])
    router.post(
        "/predict/{model}",
        summary="Ask one model about one subject",
        response_model=Answer,
        responses=PREDICT_REFUSALS,
        openapi_extra=body(Question.model_json_schema()),
    )(post_predict)
    router.post(
        "/outcomes",
        summary="Report what really happened, one outcome or a list",
        status_code=202,
        response_model=Accepted,
        responses=REFUSALS,
        openapi_extra=body(OUTCOMES),
    )(post_outcomes)
    router.get("/models", summary="What serves, with the contracts", response_model=Models)(get_models)
    return router


async def post_predict(model: str, request: Request) -> Response:
    """Named features in, one prediction out. When it arrives, its record is on the disk."""
    parts: Parts = request.app.state.parts
    seen = request.state.seen
    seen.model = parts.routing.route(model).model
    answered = await predict(parts, seen.model, await read(request), seen)
    after = BackgroundTask(copied, parts, answered)  # the framework runs it once the answer has left
    return Response(answered.answer, media_type="application/json", background=after)


async def post_outcomes(request: Request) -> Response:
    """Ground truth, which may come late and may be corrected. All of a list is kept, or none."""
    parts: Parts = request.app.state.parts
    found = outcomes.parse(strict_json(await read(request)), parts.routing.table().routes, datetime.now(UTC))
    await parts.record.keep_outcomes(found)
    return Response(Accepted(accepted=len(found)).model_dump_json(), 202, media_type="application/json")


async def get_models(request: Request) -> Models:
    parts: Parts = request.app.state.parts
    routes = parts.routing.table().routes.values()
    return Models(models=[ModelCard(name=r.model, released=r.arms, reason=r.reason) for r in routes])


def operations() -> APIRouter:
    """Health and metrics: open on this machine, behind the key from elsewhere."""
    router = APIRouter(tags=["operations"], dependencies=[FromHere])
    router.get("/health/live", summary="The process answers")(live)
    router.get("/health/ready", summary="It can answer and keep the record")(ready)
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
        await parts.record.probe()
        gauges.spool_writable.set(1)
    except RecordUnavailable:
        gauges.spool_writable.set(0)
    gauges.breakers(parts.routing.candidates(), parts.breakers.is_open)
    gauges.routing_age.set(parts.routing.age(time.time()))
    gauges.triton_up.set(await parts.triton.ready())
    return Response(gauges.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
