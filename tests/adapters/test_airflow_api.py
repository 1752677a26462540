"""Airflow's REST API, against a small server that answers as Airflow does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from medtower.adapters.airflow_api import Airflow
from medtower.errors import DeadlineExceeded, MedtowerError, NotFound, Refused, Unavailable

RUN = "/api/v2/dags/retrain/dagRuns/run-1"
Answers = dict[tuple[str, str], list[tuple[int, Any]]]


class FakeAirflow:
    """Answers each (method, path) with its list of (status, body) one after the other, the last one for ever; keeps what was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[tuple[str, str, Any, str]] = []
        self.answers: Answers = {("POST", "/auth/token"): [(201, {"access_token": "token-1"})]}

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        found = self.answers.get((method, path), [(404, {"detail": "not found"})])
        return found.pop(0) if len(found) > 1 else found[0]


@pytest.fixture
def fake() -> Iterator[FakeAirflow]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            found.asked.append((self.command, self.path, body, self.headers.get("Authorization", "")))
            status, content = found.answer(self.command, self.path)
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing: the test's output is for the test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = FakeAirflow(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def airflow(fake: FakeAirflow) -> Iterator[Airflow]:
    with Airflow(fake.url, "admin", "secret", every=0) as client:
        yield client


def test_a_run_is_triggered_with_its_parameters_and_the_token(fake: FakeAirflow, airflow: Airflow) -> None:
    fake.answers["POST", "/api/v2/dags/retrain/dagRuns"] = [(200, {"dag_run_id": "run-1"})]
    assert airflow.trigger("retrain", model="als_risk", window_days=30) == "run-1"
    token, trigger = fake.asked
    assert token[2] == {"username": "admin", "password": "secret"}
    assert trigger[2] == {"logical_date": None, "conf": {"model": "als_risk", "window_days": 30}}
    assert trigger[3] == "Bearer token-1"


def test_the_token_is_asked_for_once_and_anew_when_it_has_expired(
    fake: FakeAirflow, airflow: Airflow
) -> None:
    fake.answers["PATCH", "/api/v2/dags/retrain"] = [(200, {}), (401, {}), (200, {})]
    airflow.unpause("retrain")
    airflow.unpause("retrain")
    paths = [path for _, path, _, _ in fake.asked]
    assert paths.count("/auth/token") == 2
    assert fake.asked[-1][2] == {"is_paused": False}


def test_a_dag_that_is_not_parsed_yet_is_not_known(fake: FakeAirflow, airflow: Airflow) -> None:
    assert not airflow.known("retrain")
    fake.answers["GET", "/api/v2/dags/retrain"] = [(200, {"dag_id": "retrain"})]
    assert airflow.known("retrain")


def test_waiting_ends_when_the_run_succeeds_and_tells_its_states(fake: FakeAirflow, airflow: Airflow) -> None:
    fake.answers["GET", RUN] = [(200, {"state": s}) for s in ("queued", "running", "success")]
    told: list[str] = []
    airflow.wait("retrain", "run-1", told=told.append)
    assert told == ["retrain queued", "retrain running"]


def test_a_failed_run_names_the_tasks_that_failed(fake: FakeAirflow, airflow: Airflow) -> None:
    fake.answers["GET", RUN] = [(200, {"state": "failed"})]
    instances = [
        {"task_id": "needed", "state": "success", "map_index": -1},
        {"task_id": "train_and_propose", "state": "failed", "map_index": 0},
        {"task_id": "train_and_propose", "state": "failed", "map_index": 1},
    ]
    fake.answers["GET", f"{RUN}/taskInstances"] = [(200, {"task_instances": instances})]
    with pytest.raises(MedtowerError, match="retrain run-1 failed in train_and_propose;"):
        airflow.wait("retrain", "run-1")


def test_a_run_that_does_not_end_exceeds_the_deadline(fake: FakeAirflow, airflow: Airflow) -> None:
    fake.answers["GET", RUN] = [(200, {"state": "running"})]
    with pytest.raises(DeadlineExceeded, match="retrain run-1"):
        airflow.wait("retrain", "run-1", deadline=0.05)


def test_what_a_mapped_task_returned_comes_in_the_order_of_its_map(
    fake: FakeAirflow, airflow: Airflow
) -> None:
    instances = [
        {"task_id": "track", "state": state, "map_index": index}
        for index, state in ((2, "success"), (0, "success"), (1, "failed"))
    ]
    fake.answers["GET", f"{RUN}/taskInstances"] = [(200, {"task_instances": instances})]
    for index in (0, 2):
        path = f"{RUN}/taskInstances/track/xcomEntries/return_value?map_index={index}&deserialize=true"
        fake.answers["GET", path] = [(200, {"value": {"n": index}})]
    assert airflow.results("retrain", "run-1", "track") == [{"n": 0}, {"n": 2}]


def test_runs_come_newest_first(fake: FakeAirflow, airflow: Airflow) -> None:
    path = "/api/v2/dags/retrain/dagRuns?order_by=-run_after&limit=20"
    fake.answers["GET", path] = [(200, {"dag_runs": [{"dag_run_id": "b"}, {"dag_run_id": "a"}]})]
    assert [r["dag_run_id"] for r in airflow.runs("retrain")] == ["b", "a"]


def test_a_wrong_password_is_refused_and_not_shown(fake: FakeAirflow, airflow: Airflow) -> None:
    fake.answers["POST", "/auth/token"] = [(401, {"detail": "Invalid credentials"})]
    with pytest.raises(Refused, match="admin") as raised:
        airflow.unpause("retrain")
    assert "secret" not in str(raised.value)


def test_a_refused_parameter_is_told_with_the_status(fake: FakeAirflow, airflow: Airflow) -> None:
    fake.answers["POST", "/api/v2/dags/retrain/dagRuns"] = [(400, {"detail": "window_days"})]
    with pytest.raises(MedtowerError, match="with 400"):
        airflow.trigger("retrain", window_days=-1)


@pytest.mark.parametrize("answer", [(502, b"<html>bad gateway</html>"), (200, b"<html>not JSON</html>")])
def test_something_else_that_answers_is_not_airflow(
    fake: FakeAirflow, airflow: Airflow, answer: tuple[int, bytes]
) -> None:
    fake.answers["GET", RUN] = [answer]
    with pytest.raises(Unavailable, match="Airflow"):
        airflow.wait("retrain", "run-1")


def test_no_answer_is_unavailable() -> None:
    with (
        Airflow("http://127.0.0.1:1", "admin", "secret") as client,
        pytest.raises(Unavailable, match="Airflow"),
    ):
        client.unpause("retrain")


def test_a_run_that_was_removed_is_not_found(airflow: Airflow) -> None:
    with pytest.raises(NotFound, match="retrain/dagRuns/gone"):
        airflow.wait("retrain", "gone")
