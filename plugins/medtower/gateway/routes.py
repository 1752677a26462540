"""The paths. Each parses, calls and answers; errors leave through problems.py."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from medtower.domain.contract import Contract
from medtower.domain.routing import Route
from medtower.errors import MedtowerError, NotFound, RecordUnavailable, Unavailable
from medtower.gateway import outcomes
from medtower.gateway.access import FromHere, WithKey
from medtower.gateway.answers import Accepted, Answer, ModelCard, Models, OutcomeReport, Problem, Question
from medtower.gateway.body import read, strict_json
from medtower.gateway.parts import Parts
from medtower.gateway.predict import predict

log = logging.getLogger(__name__)
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": description}
    for code, description in {
        401: "no or a wrong X-API-Key",
        413: "the body is larger than 256 KiB",
        422: "a field breaks a rule; both are named, the value is not repeated",
        503: "the model, Triton or the durable record is not there; nothing was answered",
    }.items()
}
PREDICT_REFUSALS = REFUSALS | {
    code: {"model": Problem, "description": description}
    for code, description in {
        404: "no such model",
        409: "the request id was used for another body",
        502: "the model answered nonsense, which is withheld",
        504: "Triton did not answer in time",
    }.items()
}
OUTCOME = OutcomeReport.model_json_schema()
OUTCOMES = {"anyOf": [OUTCOME, {"type": "array", "items": OUTCOME, "minItems": 1, "maxItems": outcomes.MOST}]}


def body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """The part of the OpenAPI document that describes a body the gateway parses itself."""
    shown = {name: {"value": value} for name, value in examples.items()}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "examples": shown}},
        }
    }


def api(examples: dict[str, Any]) -> APIRouter:
    """Everything under /api/v1/ml, behind the key. `examples` are one question a model."""
    router = APIRouter(prefix="/api/v1/ml", tags=["models"], dependencies=[WithKey])
    router.post(
        "/predict/{model}",
        summary="Ask one model about one subject",
        response_model=Answer,
        responses=PREDICT_REFUSALS,
        openapi_extra=body(Question.model_json_schema(), examples),
    )(post_predict)
    first = next(iter(examples))
    truth = {"request_id": "example-1", "model": first, "value": 1, "observed_at": "2026-01-31T09:30:00Z"}
    router.post(
        "/outcomes",
        summary="Report what really happened, one outcome or a list",
        status_code=202,
        response_model=Accepted,
        responses=REFUSALS,
        openapi_extra=body(OUTCOMES, {"one": truth, "several": [truth]}),
    )(post_outcomes)
    router.get("/models", summary="The contracts, and the versions that serve", response_model=Models)(
        get_models
    )
    return router


async def post_predict(model: str, request: Request) -> Response:
    """Named features in, one prediction out. When it arrives, its record is on the disk."""
    parts: Parts = request.app.state.parts
    contract = parts.contracts.get(model)
    if contract is None:
        raise NotFound("the model", "the contracts of this tower", "GET /api/v1/ml/models lists them")
    seen = request.state.seen
    seen.model = contract.name
    answer = await predict(parts, contract, await read(request), seen)
    return Response(answer, media_type="application/json")


async def post_outcomes(request: Request) -> Response:
    """Ground truth, which may come late and may be corrected. All of a list is kept, or none."""
    parts: Parts = request.app.state.parts
    found = outcomes.parse(strict_json(await read(request)), parts.contracts, datetime.now(UTC))
    await parts.record.keep_outcomes(found)
    return Response(Accepted(accepted=len(found)).model_dump_json(), 202, media_type="application/json")


async def get_models(request: Request) -> Models:
    parts: Parts = request.app.state.parts
    return Models(models=[_card(contract, _route(parts, contract)) for contract in parts.contracts.values()])


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
    gauges.routing_age.set(parts.routing.age(time.time()))
    gauges.triton_up.set(await parts.triton.ready())
    return Response(gauges.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _route(parts: Parts, contract: Contract) -> Route:
    try:
        return parts.routing.route(contract.name)
    except MedtowerError as error:
        return Route(model=contract.name, reason=str(error))


def _card(contract: Contract, route: Route) -> ModelCard:
    return ModelCard(
        name=contract.name,
        title=contract.title,
        task=contract.task,
        intended_use=contract.intended_use,
        out_of_scope=contract.out_of_scope,
        inputs=contract.inputs,
        output=contract.output.model_dump(exclude_none=True),
        released=route.arms,
        reason=route.reason,
    )
