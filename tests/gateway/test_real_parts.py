"""The gateway before a real Triton and a real Postgres."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg2
import pytest
from tests.fixtures.onnx_models import linear
from tests.fixtures.postgres import Cluster
from tests.fixtures.triton import TritonProcess
from tests.gateway.conftest import DIGESTS, FEATURES, KEY, Gateway, publish, settings_of
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import running, wait_until

from medtower.adapters.postgres.predictions import PredictionStore
from medtower.adapters.postgres.rollout_record import RolloutRecord
from medtower.adapters.triton import Triton
from medtower.gateway.answering import inference
from medtower.gateway.app import create
from medtower.settings import Settings

CONFIG = """
backend: "onnxruntime"
input [{ name: "features" data_type: TYPE_FP32 dims: [ 5 ] }]
output [{ name: "prediction" data_type: TYPE_FP32 dims: [ 1 ] }]
max_batch_size: 64
"""
# of what each version adds to the sum of its inputs: 3 answers nonsense, 4 another label
OFFSETS = {1: 0.01, 2: 0.02, 3: math.nan, 4: -0.5}
NOW = datetime.now(UTC)
WINDOW = (NOW - timedelta(days=1), NOW + timedelta(days=1))


@pytest.fixture
def real_settings(triton_process: TritonProcess, tmp_path: Path) -> Settings:
    folder = triton_process.store / "demo_risk"
    for version, offset in OFFSETS.items():
        linear(folder / str(version) / "model.onnx", 5, scale=0.01, offset=offset)
    (folder / "config.pbtxt").write_text(
        CONFIG + f"version_policy: {{ specific: {{ versions: {[*OFFSETS]} }} }}"
    )
    with Triton(triton_process.url, triton_process.admin_key, grpc_url=triton_process.grpc_url) as control:
        control.load("demo_risk")
    return settings_of(tmp_path, triton_process.url)


@pytest.fixture
def real_gateway(real_settings: Settings, clean_postgres: Cluster) -> Iterator[Gateway]:
    publish(real_settings, demo_risk={1: 100})
    sink = PredictionStore(clean_postgres.dsn("medtower_gateway"))
    app = create(real_settings, sink=sink)
    with running(app) as url, httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=10) as http:
        yield Gateway(http, app, real_settings, FakeTriton(), url)


def test_a_real_answer_reaches_the_real_database(
    real_gateway: Gateway,
    clean_postgres: Cluster,
) -> None:
    first = real_gateway.ask(request_id="r1")
    assert first.status_code == 200
    # 70.5 + 1 + 3 + 1, and the missing marker counts 0
    assert first.json()["prediction"] == pytest.approx(0.755 + 0.01, abs=1e-6)
    real_gateway.publish(demo_risk={2: 100})
    second = real_gateway.ask(request_id="r2", features=FEATURES | {"marker": 4.5})
    assert second.json()["prediction"] == pytest.approx(0.80 + 0.02, abs=1e-6)
    truth = {"request_id": "r1", "model": "demo_risk", "value": 1, "observed_at": "2026-01-31T09:30:00Z"}
    assert real_gateway.http.post("/api/v1/ml/outcomes", json=truth).status_code == 202
    wait_until(lambda: real_gateway.metric("medtower_spool_depth") == 0)
    connection = psycopg2.connect(clean_postgres.dsn("medtower_reader"))
    with connection, connection.cursor() as cursor:
        cursor.execute("select request_id, version, features[5] from medtower.predictions order by 1")
        assert cursor.fetchall() == [("r1", 1, None), ("r2", 2, 4.5)]
        cursor.execute("select request_id, value from medtower.outcomes")
        assert cursor.fetchall() == [("r1", 1.0)]
    connection.close()


def test_a_version_that_the_real_triton_does_not_serve_is_503(real_gateway: Gateway) -> None:
    publish(real_gateway.settings, demo_risk={1: 100}, demo_score={1: 100})
    answer = real_gateway.ask("demo_score")
    assert answer.status_code == 503
    assert "does not serve it" in answer.json()["message"]


@pytest.fixture
def record(clean_postgres: Cluster) -> RolloutRecord:
    return RolloutRecord(clean_postgres.dsn("medtower_airflow"))


def test_a_real_candidate_that_answers_nan_loses_its_patients_and_nobody_sees_an_error(
    real_gateway: Gateway, record: RolloutRecord
) -> None:
    real_gateway.publish(demo_risk={1: 1e-6, 3: 100 - 1e-6})
    answers = [real_gateway.ask(subject_id=f"s{n}") for n in range(10)]
    assert {a.status_code for a in answers} == {200}
    assert {a.json()["version"] for a in answers} == {1}
    assert real_gateway.metric('medtower_breaker_open{model="demo_risk",version="3"}') == 1
    wait_until(lambda: real_gateway.metric("medtower_spool_depth") == 0)
    candidate = record.arm("demo_risk", 3, *WINDOW, WINDOW[1])
    assert candidate["failed"].tolist() == [True] * 3
    assert len(set(candidate["subjects"].tolist())) == 3
    # the three detours are the candidate's, what came after them the incumbent's
    assert record.arm("demo_risk", 1, *WINDOW, WINDOW[1])["failed"].tolist() == [False] * 7
    assert record.opened("demo_risk", DIGESTS[3]) is not None


def test_the_pairs_of_a_real_shadow_and_its_disagreements_reach_the_real_database(
    real_gateway: Gateway, record: RolloutRecord
) -> None:
    real_gateway.publish(demo_risk={1: 100}, shadow=2)
    for n in range(5):
        assert real_gateway.ask(request_id=f"agree{n}").json()["version"] == 1
    real_gateway.publish(demo_risk={1: 100}, shadow=4)
    real_gateway.ask(request_id="disagree")
    wait_until(lambda: len(record.disagreements("demo_risk", 10)) == 1)
    wait_until(lambda: len(record.pairs("demo_risk", 2, *WINDOW)["current"]) == 5)
    pairs = record.pairs("demo_risk", 2, *WINDOW)
    assert pairs["current"] == pytest.approx([0.765] * 5, abs=1e-6)
    assert pairs["candidate"] == pytest.approx([0.775] * 5, abs=1e-6)
    assert (pairs["latency_ms"] > 0).all()
    (waiting,) = record.disagreements("demo_risk", 10)
    assert (waiting["request_id"], waiting["version"]) == ("disagree", 4)
    assert waiting["prediction"] == pytest.approx(0.255, abs=1e-6)


def test_real_answers_are_there_while_the_shadow_hangs(
    real_gateway: Gateway, record: RolloutRecord, unanswering_port: int
) -> None:
    real_gateway.app.state.parts.shadowing._triton = inference.Triton(f"127.0.0.1:{unanswering_port}")
    real_gateway.publish(demo_risk={1: 100}, shadow=2)
    for n in range(5):
        assert real_gateway.ask(request_id=f"r{n}").status_code == 200
    wait_until(lambda: real_gateway.metric('medtower_predictions_total{model="demo_risk",version="1"}') == 5)
    assert record.pairs("demo_risk", 2, *WINDOW)["failed"].tolist() == []
    wait_until(lambda: len(record.pairs("demo_risk", 2, *WINDOW)["failed"]) == 5)
    assert record.pairs("demo_risk", 2, *WINDOW)["failed"].all()


def test_an_answer_whose_request_id_the_database_holds_for_another_body_is_set_aside(
    real_gateway: Gateway,
    clean_postgres: Cluster,
    real_settings: Settings,
    tmp_path: Path,
) -> None:
    assert real_gateway.ask(request_id="r1").status_code == 200
    wait_until(lambda: real_gateway.metric("medtower_spool_depth") == 0)
    # another gateway's spool, as after a replacement of the machine, knows nothing of the request id
    other = settings_of(tmp_path / "other", real_settings.triton_url)
    publish(other, demo_risk={1: 100})
    app = create(other, sink=PredictionStore(clean_postgres.dsn("medtower_gateway")))
    with running(app) as url, httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=10) as http:
        second = Gateway(http, app, other, FakeTriton(), url)
        assert second.ask(request_id="r1", subject_id="other").status_code == 200
        assert second.ask(request_id="r2").status_code == 200
        wait_until(lambda: second.metric("medtower_spool_depth") == 0)
        assert second.metric("medtower_duplicate_requests_total") == 1
        assert second.metric("medtower_rejected_total") == 1
        assert second.metric("medtower_shipped_total") == 1
