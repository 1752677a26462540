"""What the OpenAPI document says of the paths that are answered without the framework (predictions.py): routes that are described and never run."""

from __future__ import annotations

from fastapi import APIRouter

from medtower.gateway.access.caller import may
from medtower.gateway.rest.answers import Answer, ComposedAnswer, NamedQuestion, Problem, Question
from medtower.gateway.rest.routes import REFUSALS, body

PREDICT_REFUSALS = REFUSALS | {
    code: {"model": Problem, "description": description}
    for code, description in {
        404: "no such model",
        409: "the request id was used for another body, or so long ago that its answer is not kept for repetition, or is of the form that only "
        "the gateway gives",
        502: "the model answered nonsense, which is withheld",
        504: "Triton did not answer in time",
    }.items()
}


def predictions() -> APIRouter:
    """The two ways to ask for one prediction."""
    router = APIRouter(
        prefix="/api/v1/ml", tags=["models"], dependencies=[may("predict")], responses=PREDICT_REFUSALS
    )
    router.post(
        "/predict/{model}",
        summary="Ask one model about one subject",
        response_model=ComposedAnswer | Answer,
        openapi_extra=body(Question.model_json_schema()),
    )(predict_model)
    router.post(
        "/predict",
        summary="Ask the model that the body names about one subject",
        response_model=ComposedAnswer | Answer,
        openapi_extra=body(NamedQuestion.model_json_schema()),
    )(predict)
    return router


def predict_model(model: str) -> None:
    """Named features in, one prediction out. When it arrives, its record is on the disk."""


def predict() -> None:
    """Named features in, one prediction out. When it arrives, its record is on the disk."""
