"""How a model does: counted from the record, measured by tracking, and honest where there is too little."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.fixtures.postgres import Cluster
from tests.gateway.conftest import Gateway
from tests.gateway.rest.conftest import shipped
from tests.gateway.server import wait_until

from medtower.adapters.postgres import health, performance
from medtower.adapters.postgres.database import Database
from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.estimate import Estimate, Status

PATH = "/api/v1/ml/models/demo_risk/performance"
NOW = datetime.now(UTC)


def number(of: dict[str, Any], metric: str) -> dict[str, Any]:
    (found,) = [each for each in of["numbers"] if each["metric"] == metric]
    return dict(found)


def test_of_nothing_there_are_no_numbers(recorded: Gateway) -> None:
    answer = recorded.http.get(PATH).json()
    assert (answer["served"], answer["measured"], answer["last_tracked"]) == ([], [], None)
    assert answer["disclaimer"] == DISCLAIMER


def test_too_little_is_insufficient_data_and_not_a_number(recorded: Gateway) -> None:
    for n in range(3):
        recorded.ask(request_id=f"r{n}")
    shipped(recorded)
    (served,) = recorded.http.get(PATH).json()["served"]
    assert (served["version"], served["answered"], served["failed"]) == (1, 3, {})
    rate = number(served, "error_rate")
    assert (rate["n"], rate["value"], rate["lower"]) == (3, 0.0, 0.0)
    assert 0.5 < rate["upper"] < 0.6
    for metric, n in (("label_coverage", 0), ("model_milliseconds_p99", 3)):
        found = number(served, metric)
        assert (found["n"], found["value"], found["status"]) == (n, None, "insufficient data")


def test_failures_are_a_share_of_the_attempts_by_code(recorded: Gateway) -> None:
    recorded.ask(request_id="r1")
    recorded.triton.fault = "nan"
    assert recorded.ask(request_id="r2").status_code == 502
    recorded.triton.fault = "503"
    assert {recorded.ask(request_id=f"f{n}").status_code for n in range(2)} == {503}
    recorded.triton.fault = ""
    shipped(recorded)
    (served,) = recorded.http.get(PATH).json()["served"]
    assert served["failed"] == {"502": 1, "503": 2}
    assert (number(served, "error_rate")["value"], number(served, "error_rate")["n"]) == (0.75, 4)
    assert number(served, "error_rate_502")["value"] == 0.25
    stats = recorded.http.get("/api/v1/ml/stats").json()
    found = [(r["model"], r["version"], r["arm"], r["code"], r["n"]) for r in stats["requests"]]
    assert found == [("demo_risk", 1, "current", code, n) for code, n in ((200, 1), (502, 1), (503, 2))]


def test_what_tracking_stored_is_told_as_it_was(recorded: Gateway, clean_postgres: Cluster) -> None:
    airflow = Database(clean_postgres.dsn("medtower_airflow"))
    estimates = [
        (Estimate(metric="auc_roc", n=390, value=0.91, lower=0.88, upper=0.94, method="DeLong"), Status.OK),
        (
            Estimate(metric="auc_roc", population="sex=F", n=12, value=None, lower=None, upper=None),
            Status.INSUFFICIENT,
        ),
    ]
    performance.save(
        airflow, model="demo_risk", version=1, window_start=NOW - timedelta(days=14), window_end=NOW, as_of=NOW,
        estimates=estimates, coverage=0.9,
    )  # fmt: skip
    health.record(airflow, "track_performance", NOW, model="demo_risk")
    answer = recorded.http.get(f"{PATH}?hours=0.5").json()
    (measured,) = answer["measured"]
    assert (measured["version"], measured["kind"], measured["label_coverage"]) == (1, "tracking", 0.9)
    whole, women = measured["numbers"]
    assert (whole["value"], whole["lower"], whole["upper"], whole["n"], whole["status"]) == (
        0.91,
        0.88,
        0.94,
        390,
        "ok",
    )
    assert (women["population"], women["value"], women["status"]) == ("sex=F", None, "insufficient data")
    assert datetime.fromisoformat(answer["last_tracked"]) == NOW


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{PATH}?hours=0", 422),
        (f"{PATH}?hours=-1", 422),
        (f"{PATH}?hours=nan", 422),
        (f"{PATH}?hours=1e999", 422),
        ("/api/v1/ml/stats?hours=Zaphod", 422),
        (f"{PATH}?hours=2160", 200),
        ("/api/v1/ml/models/demo_rusk/performance", 404),
        ("/api/v1/ml/models/..%2fx/performance", 404),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(recorded: Gateway, path: str, status: int) -> None:
    assert recorded.http.get(path).status_code == status


def test_a_breaker_and_the_time_since_the_start_are_in_the_statistics(recorded: Gateway) -> None:
    recorded.publish(demo_risk={1: 50, 2: 50})
    stats = recorded.http.get("/api/v1/ml/stats").json()
    assert stats["breakers"] == [{"model": "demo_risk", "version": 2, "open": False}]
    assert 0 < stats["uptime_seconds"] < 300
    assert stats["disclaimer"] == DISCLAIMER
    recorded.triton.faults = {2: "nan"}
    for n in range(30):
        recorded.ask(subject_id=f"s{n}")
    stats = recorded.http.get("/api/v1/ml/stats").json()
    assert stats["breakers"] == [{"model": "demo_risk", "version": 2, "open": True}]


def test_the_document_describes_what_is_answered_with_examples(recorded: Gateway) -> None:
    document = httpx.get(f"{recorded.url}/openapi.json").json()
    for name in ("History", "Performance", "Stats", "BatchJob"):
        schema = document["components"]["schemas"][name]
        assert schema["example"]["disclaimer"] == DISCLAIMER
        assert set(schema["required"]) - set(schema["example"]) <= {"ended_at", "waiting_for", "problem"}
    content = document["paths"]["/api/v1/ml/batch"]["post"]["requestBody"]["content"]
    sent = content["text/csv"]["examples"]["demo_risk"]["value"]
    answer = recorded.http.post(
        "/api/v1/ml/batch?model=demo_risk", content=sent, headers={"Content-Type": "text/csv"}
    )
    job = f"/api/v1/ml/batch/{answer.json()['id']}"
    wait_until(lambda: recorded.http.get(job).json()["state"] == "done")
    assert recorded.http.get(job).json()["failed"] == {}
    named = document["paths"]["/api/v1/ml/predict"]["post"]["requestBody"]["content"]["application/json"]
    for each in named["examples"].values():
        assert recorded.http.post("/api/v1/ml/predict", json=each["value"]).status_code in (200, 409)
