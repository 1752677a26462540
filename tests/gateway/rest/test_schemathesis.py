"""The gateway against its own OpenAPI document: what schemathesis makes of it, right and wrong, is answered as the document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as examples
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.fixtures.postgres import Cluster
from tests.gateway.conftest import KEY, Gateway, settings_of, started
from tests.gateway.fake_triton import FakeTriton

from medtower.adapters.postgres.predictions import PredictionStore

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 25
OPERATIONS = [
    "POST /api/v1/ml/predict/{model}",
    "POST /api/v1/ml/predict",
    "POST /api/v1/ml/outcomes",
    "GET /api/v1/ml/models",
    "GET /api/v1/ml/routing",
    "GET /api/v1/ml/models/{model}/performance",
    "GET /api/v1/ml/predictions/history",
    "GET /api/v1/ml/stats",
    "POST /api/v1/ml/batch",
    "GET /api/v1/ml/batch/{id}",
    "DELETE /api/v1/ml/batch/{id}",
    "GET /api/v1/ml/batch/{id}/result",
]
OF_A_MODEL = (
    "POST /api/v1/ml/predict/{model}",
    "GET /api/v1/ml/models/{model}/performance",
    "POST /api/v1/ml/batch",
)
POSITIVE = schemathesis.GenerationMode.POSITIVE
# nothing that can be sent there is other than the document says
NEVER_WRONG = {
    ("GET /api/v1/ml/models", None),
    ("GET /api/v1/ml/routing", None),
    ("GET /api/v1/ml/batch/{id}", None),
    ("DELETE /api/v1/ml/batch/{id}", None),
    ("GET /api/v1/ml/batch/{id}/result", None),
    ("POST /api/v1/ml/batch", "demo_risk"),
}
# what a question that is made of the document alone finds an answer to
ANSWERED = ("GET /api/v1/ml/models", "GET /api/v1/ml/predictions/history", "GET /api/v1/ml/stats")
ANSWERED_NAMED = ("GET /api/v1/ml/models/{model}/performance", "POST /api/v1/ml/batch")


@pytest.fixture(scope="module")
def gateway(
    triton_server: tuple[FakeTriton, str], postgres: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    fake, url = triton_server
    dsn = postgres.dsn("medtower_gateway")
    settings = settings_of(tmp_path_factory.mktemp("gateway"), url)
    with started(settings.model_copy(update={"dsn": SecretStr(dsn)}), fake, PredictionStore(dsn)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def schema(gateway: Gateway) -> schemathesis.BaseSchema:
    """Without its logins: schemathesis would try keys of its own, and see little but 401."""
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    del document["components"]["securitySchemes"]
    for path in document["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    return schemathesis.openapi.from_dict(document)


def test_every_path_of_the_document_is_tried(schema: schemathesis.BaseSchema) -> None:
    found = {operation.ok().label for operation in schema.get_all_operations()}
    assert {label for label in found if "/api/v1/ml/" in label} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("label", "model", "mode"),
    [
        pytest.param(label, model, mode, id=f"{label} {model or ''} {mode.value}")
        for mode in schemathesis.GenerationMode
        for label in OPERATIONS
        for model in ((None, "demo_risk") if label in OF_A_MODEL else (None,))
        if mode is POSITIVE or (label, model) not in NEVER_WRONG
    ],
)
def test_it_answers_as_its_document_says(
    gateway: Gateway,
    schema: schemathesis.BaseSchema,
    label: str,
    model: str | None,
    mode: schemathesis.GenerationMode,
) -> None:
    (operation,) = [each.ok() for each in schema.get_all_operations() if each.ok().label == label]
    named: dict[str, Any] = {}
    if model and "{model}" in label:
        named["path_parameters"] = {"model": model}
    elif model:
        named["query"] = {"model": model}
    statuses: set[int] = set()

    @seed(20260101)
    @examples(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode, **named))
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(base_url=gateway.url, headers={"X-API-Key": KEY})
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    assert statuses
    assert not statuses & {401, 403}
    if mode is POSITIVE and (label in ANSWERED or (model and label in ANSWERED_NAMED)):
        assert statuses & {200, 202}
