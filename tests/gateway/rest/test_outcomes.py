from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.gateway.conftest import Gateway

from medtower.domain.prediction import Outcome

PATH = "/api/v1/ml/outcomes"
TRUTH = {"request_id": "r1", "model": "demo_risk", "value": 1, "observed_at": "2026-01-31T09:30:00+01:00"}


def spooled(gateway: Gateway) -> list[Outcome]:
    waiting = gateway.app.state.parts.record.spool.waiting(5000)
    return [w.item for w in waiting if isinstance(w.item, Outcome)]


def test_an_outcome_is_on_the_disk_when_it_is_accepted(gateway: Gateway) -> None:
    before = datetime.now(UTC)
    answer = gateway.http.post(PATH, json=TRUTH)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    (kept,) = spooled(gateway)
    assert (kept.request_id, kept.model, kept.value, kept.source) == ("r1", "demo_risk", 1.0, "registry")
    assert kept.observed_at == datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
    assert before <= kept.arrived_at <= datetime.now(UTC)


def test_a_list_is_kept_as_a_whole(gateway: Gateway) -> None:
    truths = [TRUTH | {"request_id": f"r{n}"} for n in range(1000)]
    assert gateway.http.post(PATH, json=truths).json()["accepted"] == 1000
    assert len(spooled(gateway)) == 1000


def test_a_correction_is_a_later_arrival(gateway: Gateway) -> None:
    for value in (1, 0):
        assert gateway.http.post(PATH, json=TRUTH | {"value": value}).status_code == 202
    assert [o.value for o in spooled(gateway)] == [1.0, 0.0]


def test_a_regressions_outcome_is_a_number(gateway: Gateway) -> None:
    assert gateway.http.post(PATH, json=TRUTH | {"model": "demo_score", "value": 7.25}).status_code == 202


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"value": 2}, "value", "0 or 1"),
        ({"value": True}, "value", "finite number"),
        ({"value": "Zaphod-4711"}, "value", "finite number"),
        ({"value": float("nan")}, "value", "finite number"),
        ({"value": float("inf"), "model": "demo_score"}, "value", "finite number"),
        ({"model": "Zaphod-4711"}, "model", "not a model"),
        ({"model": ["demo_risk"]}, "model", "not a model"),
        ({"request_id": "Zaphod 4711"}, "request_id", "characters"),
        ({"observed_at": "Zaphod-4711"}, "observed_at", "ISO 8601"),
        ({"observed_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "observed_at", "now"),
        ({"Zaphod-4711": 1}, "", "not one of"),
        ({"value": None}, "value", "finite number"),
    ],
)
def test_one_bad_outcome_refuses_the_list_and_is_named(
    gateway: Gateway, change: dict[str, Any], field: str, rule: str
) -> None:
    answer = gateway.send(json.dumps([TRUTH, TRUTH | change]), PATH)
    assert answer.status_code == 422
    assert answer.json()["field"] == f"[1].{field}".rstrip(".")
    assert rule in answer.json()["rule"]
    assert "4711" not in answer.text
    assert not spooled(gateway)


@pytest.mark.parametrize(
    ("body", "field"),
    [([], "body"), ("x", "body"), ([TRUTH] * 1001, "body"), ([1], "[0]"), ({}, "model"), ([{}], "[0].model")],
)
def test_what_is_no_outcome_is_refused(gateway: Gateway, body: Any, field: str) -> None:
    answer = gateway.http.post(PATH, json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
