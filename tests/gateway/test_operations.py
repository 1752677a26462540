from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.gateway.conftest import DIGESTS, Gateway

from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.routing import RoutingTable
from medtower.errors import RecordUnavailable, Refused
from medtower.gateway.app import create
from medtower.serving import routing
from medtower.settings import Settings


def test_it_is_ready_when_routing_was_read_and_the_spool_takes_a_row(gateway: Gateway) -> None:
    answer = gateway.http.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reasons": []})
    gateway.app.state.parts.record.spool.close()
    answer = gateway.http.get("/health/ready")
    assert answer.status_code == 503
    assert "closed" in answer.json()["reasons"][0]
    assert gateway.metric("medtower_spool_writable") == 0
    assert gateway.ask(request_id="r1").json()["error"] == "LOG_UNAVAILABLE"


def test_it_is_not_ready_without_a_routing_table(
    settings: Settings, gateway: Gateway, tmp_path: Path
) -> None:
    elsewhere = settings.model_copy(update={"home": tmp_path / "other"})
    other = create(elsewhere)
    gateway.app.state.parts = replace(gateway.app.state.parts, routing=other.state.parts.routing)
    assert "not published" in gateway.http.get("/health/ready").json()["reasons"][0]
    assert gateway.ask().status_code == 503
    assert gateway.http.get("/api/v1/ml/models").status_code == 503
    assert gateway.metric("medtower_routing_age_seconds") == float("inf")
    other.state.parts.record.spool.close()


def test_metrics_carry_the_agreed_names(gateway: Gateway) -> None:
    gateway.ask()
    text = gateway.http.get("/metrics").text
    for name in (
        'medtower_requests_total{code="200",model="demo_risk",version="1"} 1.0',
        'medtower_request_seconds_bucket{arm="current",le="0.65",model="demo_risk",version="1"} 1.0',
        'medtower_predictions_total{model="demo_risk",version="1"} 1.0',
        "medtower_spool_depth 1.0",
        "medtower_spool_writable 1.0",
        "medtower_shipped_total 0.0",
        "medtower_triton_up 1.0",
    ):
        assert name in text
    assert gateway.metric("medtower_routing_age_seconds") < 60
    assert 0 < gateway.metric("medtower_spool_oldest_seconds") < 60


def test_the_models_are_listed_with_what_serves(gateway: Gateway) -> None:
    gateway.publish(demo_risk={1: 95, 2: 5}, demo_score={})
    answer = gateway.http.get("/api/v1/ml/models").json()
    risk, score = answer["models"]
    contract = risk["released"][0]["contract"]
    assert (risk["name"], contract["intended_use"], contract["inputs"][0]["unit"]) == (
        "demo_risk",
        "tests",
        "a",
    )
    assert [(a["version"], a["weight"]) for a in risk["released"]] == [(1, 95), (2, 5)]
    assert risk["released"][0]["digest"] == DIGESTS[1]
    assert score["released"] == []
    assert score["reason"] == "withdrawn after an incident"
    assert answer["disclaimer"] == DISCLAIMER


def test_the_routing_table_is_told_as_it_is_obeyed(gateway: Gateway) -> None:
    gateway.publish(demo_risk={1: 95, 2: 5}, demo_score={})
    answer = gateway.http.get("/api/v1/ml/routing").json()
    assert RoutingTable.model_validate(answer["table"]) == routing.read(gateway.settings.path("routing"))
    assert answer["disclaimer"] == DISCLAIMER
    assert httpx.get(f"{gateway.url}/api/v1/ml/routing").status_code == 401


def test_the_documentation_needs_no_host_but_this(gateway: Gateway) -> None:
    page = httpx.get(f"{gateway.url}/docs").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) == 3
    for link in links:
        assert link.startswith("/docs/assets/")
        assert httpx.get(gateway.url + link).status_code == 200
    assert "http://" not in page.replace(gateway.url, "")
    assert "https://" not in page


def test_the_openapi_document_has_an_example_for_every_model(gateway: Gateway) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    assert document["info"]["description"] == DISCLAIMER
    operation = document["paths"]["/api/v1/ml/predict/{model}"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"demo_risk", "demo_score"}
    assert set(operation["responses"]) >= {"200", "401", "404", "409", "413", "422", "502", "503", "504"}
    assert operation["security"] == [{"APIKeyHeader": []}, {"HTTPBearer": []}]


def test_an_error_nobody_foresaw_tells_nothing(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ZeroDivisionError("Zaphod-4711")

    def typed(hours: int) -> int:
        return hours

    gateway.app.get("/broken")(broken)
    gateway.app.get("/typed")(typed)
    answer = httpx.get(f"{gateway.url}/broken", headers=gateway.http.headers)
    assert (answer.status_code, answer.json()["error"]) == (500, "INTERNAL")
    assert "Zaphod" not in answer.text
    answer = httpx.get(f"{gateway.url}/typed?hours=Zaphod-4711", headers=gateway.http.headers)
    assert (answer.status_code, answer.json()["error"]) == (422, "INVALID_INPUT")
    assert "Zaphod" not in answer.text


def test_it_does_not_start_without_the_key_of_its_pseudonyms(settings: Settings) -> None:
    bare = Settings(**settings.model_dump() | {"subject_key": ""})
    with pytest.raises(Refused, match="MEDTOWER_SUBJECT_KEY is empty"):
        create(bare)


def test_it_does_not_start_without_a_place_for_the_record(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordUnavailable, match="cannot be opened"):
        create(settings.model_copy(update={"spool": tmp_path / "file" / "spool"}))


def test_the_gateway_imports_nothing_heavy() -> None:
    heavy = {"torch", "mlflow", "pandas", "evidently", "airflow", "sklearn", "scipy", "onnxruntime"}
    code = f"import sys, medtower.gateway.serve; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
