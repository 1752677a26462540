from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from tests.gateway.conftest import Gateway

from medtower.errors import DeadlineExceeded, FeatureInvalid, RecordUnavailable, Unavailable
from medtower.gateway.observing import reasons
from medtower.gateway.observing.metrics import MODELS, Metrics

CANARY = "Zaphod-4711"


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_request_is_counted_by_code_and_timed_by_arm() -> None:
    metrics = Metrics()
    for seconds in (0.004, 0.3, 9.0):
        metrics.served("demo_risk", 1, 200, seconds, "current")
    metrics.served("demo_risk", 1, 503, 0.2, "candidate")
    requests = {"model": "demo_risk", "version": "1"}
    assert sample(metrics, "medtower_requests_total", **requests, code="200") == 3
    assert sample(metrics, "medtower_requests_total", **requests, code="503") == 1
    current = requests | {"arm": "current"}
    assert sample(metrics, "medtower_request_seconds_bucket", **current, le="0.005") == 1
    assert sample(metrics, "medtower_request_seconds_bucket", **current, le="0.3") == 2
    assert sample(metrics, "medtower_request_seconds_count", **current) == 3
    assert sample(metrics, "medtower_request_seconds_sum", **current) == pytest.approx(9.304)
    assert sample(metrics, "medtower_request_seconds_count", **requests, arm="candidate") == 1


def test_every_count_of_the_hot_path_is_right_also_the_second_time() -> None:
    metrics, requests = Metrics(), {"model": "demo_risk", "version": "2"}
    for review in (True, False, False):
        metrics.answered("demo_risk", 2, review)
        metrics.asked("demo_risk", 2, "candidate", "answered")
        metrics.looked_up("demo_risk", hit=review)
    metrics.asked("demo_risk", 2, "candidate", "failed")
    assert sample(metrics, "medtower_predictions_total", **requests) == 3
    assert sample(metrics, "medtower_human_review_total", **requests) == 1
    arm = requests | {"arm": "candidate"}
    assert sample(metrics, "medtower_arm_requests_total", **arm, outcome="answered") == 3
    assert sample(metrics, "medtower_arm_requests_total", **arm, outcome="failed") == 1
    assert sample(metrics, "medtower_cache_lookups_total", model="demo_risk", result="hit") == 1
    assert sample(metrics, "medtower_cache_lookups_total", model="demo_risk", result="miss") == 2


COUNTS: list[Callable[[Metrics, str], object]] = [
    lambda metrics, name: metrics.served(name, 1, 200, 0.1, name),
    lambda metrics, name: metrics.answered(name, 1, True),
    lambda metrics, name: metrics.asked(name, 1, "current", "answered"),
    lambda metrics, name: metrics.shadowed(name, 1, "agree"),
    lambda metrics, name: metrics.looked_up(name, hit=True),
    lambda metrics, name: metrics.failed(name, name),
]


@pytest.mark.parametrize("count", COUNTS)
def test_nothing_that_a_caller_could_write_becomes_a_label(count: Callable[[Metrics, str], object]) -> None:
    metrics = Metrics()
    for name in (CANARY, "../x", "", "a" * 64, "Zaphod\n4711"):
        count(metrics, name)
    text = metrics.text().decode()
    assert CANARY not in text
    assert {
        line.partition('model="')[2].partition('"')[0] for line in text.splitlines() if 'model="' in line
    } == {"unknown"}


@pytest.mark.parametrize("count", COUNTS)
def test_the_number_of_series_is_bounded(count: Callable[[Metrics, str], object]) -> None:
    metrics = Metrics()
    for number in range(2 * MODELS):
        count(metrics, f"model_{number}")
    models = {
        line.partition('model="')[2].partition('"')[0]
        for line in metrics.text().decode().splitlines()
        if 'model="' in line
    }
    assert len(models) == MODELS + 1
    assert "unknown" in models
    tables = (metrics._served, metrics._answered, metrics._asked, metrics._looked_up)
    assert sum(len(table) for table in tables) <= MODELS


def test_an_error_has_one_reason_of_a_fixed_list() -> None:
    assert reasons.of_error(RecordUnavailable("the disk is full")) == "record_unavailable"
    assert reasons.of_error(Unavailable("Triton", CANARY)) == "unavailable"
    assert reasons.of_error(DeadlineExceeded("Triton", 2)) == "deadline"
    assert reasons.of_error(FeatureInvalid("age", CANARY)) == "invalid_input"
    assert reasons.of_error(ValueError(CANARY)) == "internal"
    assert reasons.of_status(418) == "internal"
    metrics = Metrics()
    metrics.failed("demo_risk", CANARY)
    assert sample(metrics, "medtower_errors_total", model="demo_risk", reason="internal") == 1


def test_the_gateway_counts_what_happens_to_its_requests(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert gateway.ask().status_code == 200
    assert gateway.ask(features={"age": 70}).status_code == 422
    gateway.triton.fault = "503"
    assert gateway.ask().status_code == 503
    gateway.triton.fault = "nan"
    assert gateway.ask().status_code == 502
    assert gateway.http.post("/api/v1/ml/predict/" + CANARY, json={}).status_code == 404
    risk = 'model="demo_risk"'
    for reason in ("invalid_input", "unavailable", "model_misbehaved"):
        assert gateway.metric(f'medtower_errors_total{{{risk},reason="{reason}"}}') == 1
    assert gateway.metric('medtower_errors_total{model="unknown",reason="not_found"}') == 1
    assert gateway.metric(f'medtower_request_seconds_count{{arm="current",{risk},version="1"}}') >= 3
    assert gateway.metric("medtower_batch_rows_count") >= 1
    assert gateway.metric("medtower_commit_group_size_count") >= 1
    assert gateway.metric("medtower_queue_depth") == 0
    assert gateway.metric("medtower_requests_in_flight") == 0
    assert CANARY not in gateway.http.get("/metrics").text
    assert CANARY not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("medtower"))


def test_a_record_that_cannot_be_kept_is_told_from_a_part_that_is_down(gateway: Gateway) -> None:
    gateway.app.state.parts.record.spool.close()
    assert gateway.ask().json()["error"] == "LOG_UNAVAILABLE"
    assert gateway.metric('medtower_errors_total{model="demo_risk",reason="record_unavailable"}') == 1
