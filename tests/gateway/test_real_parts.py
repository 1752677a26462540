"""The gateway before a real Triton and a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg2
import pytest
from tests.fixtures.onnx_models import linear
from tests.fixtures.postgres import Cluster, clean_postgres, postgres  # noqa: F401
from tests.fixtures.triton import TritonProcess
from tests.gateway.conftest import FEATURES, KEY, Gateway, publish, settings_of
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import running, wait_until

from medtower.adapters.triton import Triton
from medtower.gateway.app import create
from medtower.gateway.serve import PostgresSink
from medtower.settings import Settings

CONFIG = """
backend: "onnxruntime"
input [{ name: "features" data_type: TYPE_FP32 dims: [ 5 ] }]
output [{ name: "prediction" data_type: TYPE_FP32 dims: [ 1 ] }]
max_batch_size: 64
"""


@pytest.fixture
def real_settings(triton_process: TritonProcess, tmp_path: Path) -> Settings:
    folder = triton_process.store / "demo_risk"
    for version in (1, 2):
        linear(folder / str(version) / "model.onnx", 5, scale=0.01, offset=0.01 * version)
    (folder / "config.pbtxt").write_text(CONFIG + "version_policy: { specific: { versions: [ 1, 2 ] } }")
    with Triton(triton_process.url, triton_process.admin_key) as control:
        control.load("demo_risk")
    return settings_of(tmp_path, triton_process.url)


@pytest.fixture
def real_gateway(real_settings: Settings, clean_postgres: Cluster) -> Iterator[Gateway]:  # noqa: F811
    publish(real_settings, demo_risk={1: 100})
    sink = PostgresSink(clean_postgres.dsn("medtower_gateway"))
    app = create(real_settings, sink=sink)
    with running(app) as url, httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=10) as http:
        yield Gateway(http, app, real_settings, FakeTriton(), url)


def test_a_real_answer_reaches_the_real_database(
    real_gateway: Gateway,
    clean_postgres: Cluster,  # noqa: F811
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
