"""Callers of some models only, and of other roles, over both transports."""

from __future__ import annotations

import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tests.gateway.conftest import Gateway, grant
from tests.gateway.v2.conftest import ROW, tensor
from tritonclient.utils import InferenceServerException

from medtower.adapters import api_keys

NARROW, AUDITOR, SLOW = (api_keys.new_secret(name) for name in ("narrow", "auditor", "slow"))


def status(ask: object) -> str | None:
    with pytest.raises(InferenceServerException) as refused:
        ask()  # type: ignore[operator]
    found: str | None = refused.value.status()
    return found


def test_a_caller_of_one_model_sees_no_other(
    gateway: Gateway, http: http_client.InferenceServerClient, grpc: grpc_client.InferenceServerClient
) -> None:
    grant(gateway.settings, "narrow", NARROW, "service", models=("demo_score",))
    key = {"x-api-key": NARROW}
    assert [each["name"] for each in http.get_model_repository_index(headers=dict(key))] == ["demo_score"]
    assert [each.name for each in grpc.get_model_repository_index(headers=key).models] == ["demo_score"]
    assert grpc.is_model_ready("demo_score", headers=key)
    assert status(lambda: http.get_model_metadata("demo_risk", headers=dict(key))) == "404"
    assert status(lambda: http.get_model_config("demo_risk", headers=dict(key))) == "404"
    assert status(lambda: http.infer("demo_risk", [tensor(http_client)], headers=dict(key))) == "404"
    for ask in (
        lambda: grpc.is_model_ready("demo_risk", headers=key),
        lambda: grpc.get_model_metadata("demo_risk", headers=key),
        lambda: grpc.get_model_config("demo_risk", headers=key),
        lambda: grpc.infer("demo_risk", [tensor(grpc_client)], headers=key),
    ):
        assert status(ask) == "StatusCode.NOT_FOUND"
    assert gateway.triton.asked == []


def test_an_auditor_sees_models_and_asks_none(
    gateway: Gateway, http: http_client.InferenceServerClient, grpc: grpc_client.InferenceServerClient
) -> None:
    grant(gateway.settings, "auditor", AUDITOR, "auditor")
    key = {"x-api-key": AUDITOR}
    assert http.get_model_metadata("demo_risk", headers=dict(key))["name"] == "demo_risk"
    assert status(lambda: http.infer("demo_risk", [tensor(http_client)], headers=dict(key))) == "403"
    refused = status(lambda: grpc.infer("demo_risk", [tensor(grpc_client)], headers=key))
    assert refused == "StatusCode.PERMISSION_DENIED"


def test_who_asks_too_much_is_told_when_to_come_back(
    gateway: Gateway, grpc: grpc_client.InferenceServerClient
) -> None:
    grant(gateway.settings, "slow", SLOW, "service", rate=0.01, burst=1)
    key = {"x-api-key": SLOW}
    assert gateway.http.get("/v2", headers=key).status_code == 200
    refused = gateway.http.get("/v2", headers=key)
    assert refused.status_code == 429
    assert 90 <= int(refused.headers["Retry-After"]) <= 100
    told = status(lambda: grpc.infer("demo_risk", [tensor(grpc_client)], headers=key))
    assert told == "StatusCode.RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("module", [http_client, grpc_client])
def test_a_request_of_many_rows_is_as_many_requests(
    gateway: Gateway,
    http: http_client.InferenceServerClient,
    grpc: grpc_client.InferenceServerClient,
    module: object,
) -> None:
    grant(gateway.settings, "slow", SLOW, "service", rate=0.01, burst=8)
    client = http if module is http_client else grpc

    def ask(rows: int) -> object:
        return client.infer("demo_risk", [tensor(module, [ROW] * rows)], headers={"x-api-key": SLOW})

    ask(5)
    assert status(lambda: ask(5)) in ("429", "StatusCode.RESOURCE_EXHAUSTED")
    ask(2)
    assert status(lambda: ask(1)) in ("429", "StatusCode.RESOURCE_EXHAUSTED")
    assert len(gateway.recorded()) == 7


def test_more_rows_than_a_caller_has_at_once_are_answered_when_it_has_asked_nothing_lately(
    gateway: Gateway, http: http_client.InferenceServerClient
) -> None:
    grant(gateway.settings, "slow", SLOW, "service", rate=0.5, burst=4)
    rows = tensor(http_client, [ROW] * 100)
    http.infer("demo_risk", [rows], headers={"x-api-key": SLOW})
    refused = gateway.http.get("/v2", headers={"x-api-key": SLOW})
    assert refused.status_code == 429
    assert 190 <= int(refused.headers["Retry-After"]) <= 194
    assert len(gateway.recorded()) == 100
