"""Canaries are sent through every route and looked for everywhere (row 8 of the matrix in the design's security page). All are made up."""

from __future__ import annotations

import io
import json
import logging
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import psycopg2
import pytest
from psycopg2 import sql
from pydantic import SecretStr
from tests.fixtures.ports import free_port
from tests.fixtures.postgres import Cluster
from tests.gateway import grpc_canaries
from tests.gateway.answering.test_escalation import Hook
from tests.gateway.conftest import FEATURES, RISK, Gateway, publish, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.observing.test_tracing import Collector
from tests.gateway.privacy.test_scan import ZERO_WIDTH, fullwidth
from tests.gateway.server import running, wait_until

from medtower.adapters.postgres.predictions import PredictionStore
from medtower.domain.contract import Contract
from medtower.domain.free_text import normalised
from medtower.log import JsonFormatter
from medtower.settings import Settings

NAME, MRN, SUBJECT, VALUE = "Canarius", "88123477", "subject-quokka", "71834627"
FIELD, KEY_NAME, HEADER, LOST, PATH = (
    "field_ibisco",
    "key_heronix",
    "header_ospreyo",
    "text_gannetta",
    "path_puffinio",
)
CANARIES = [NAME, MRN, SUBJECT, VALUE, FIELD, KEY_NAME, HEADER, LOST, PATH]
NOTE = f"Patient reports chest pain. Mr. {NAME}, MRN {MRN}, seen by Frau {NAME}-Vogel; tel {MRN}, {NAME}@example.org"
CONTRACT = Contract.model_validate(
    RISK
    | {
        "inputs": [*RISK["inputs"], {"name": "note", "dtype": "text", "max_length": 2000, "buckets": 8},
                   {"name": "trace", "dtype": "sequence", "range": [0, 10], "length": [2, 4]}],
        "emergency": {"at_or_above": 0.5, "webhook": "crisis"},
    }
)  # fmt: skip
GOOD = FEATURES | {"note": NOTE, "trace": [1, 2, 3]}
PREDICT = "/api/v1/ml/predict/demo_risk"
V2_ROW = [70.5, 1.0, 3.0, 1.0, 5.0, *[0.0] * 8, 1.0, 2.0, 3.0, math.nan]
WORDS = {"value": LOST, "number": VALUE, "subject": SUBJECT, "name": NAME, "path": PATH}
BATCH_ROW = f'{SUBJECT},70.5,M,3,true,,"{NOTE}","[1, 2]"'


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Every log line as the gateway would write it, and everything that its record carried besides."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith(
                "http"
            ):  # the test's own client; the gateway's are set to warnings by `log.configure`
                return
            found.append(JsonFormatter().format(record))
            found.append(f"{record.getMessage()} {record.__dict__} {logging.Formatter().format(record)}")

    listener, root = Listener(), logging.getLogger()
    before = root.level
    root.addHandler(listener)
    root.setLevel(logging.INFO)
    yield found
    root.removeHandler(listener)
    root.setLevel(before)


def bad_questions() -> list[Any]:
    """Questions that break one rule each, with a canary where the rule is broken."""
    question: dict[str, Any] = {"subject_id": SUBJECT, "features": GOOD}
    wrong: list[dict[str, Any]] = [
        {"age": VALUE}, {"age": int(VALUE)}, {"age": float(VALUE) + 0.5}, {"sex": LOST}, {"visits": float(VALUE)}, {"smoker": LOST},
        {FIELD: 1}, {f"Mr. {NAME}": 1}, {"note": LOST * 200}, {"note": [LOST]}, {"note": {KEY_NAME: 1}},
        {"trace": [1, int(VALUE)]}, {"trace": [LOST, 2]}, {"trace": LOST}, {"trace": [int(VALUE)] * 9},
    ]  # fmt: skip
    return [
        *(question | {"features": GOOD | change} for change in wrong),
        question | {FIELD: LOST},
        question | {"subject_id": f" {SUBJECT}"},
        question | {"subject_id": f"{SUBJECT}\u200b"},
        question | {"request_id": f"{NAME} {MRN}"},
        question | {"event_time": LOST},
        question | {"features": LOST},
        [LOST],
        {KEY_NAME: LOST},
    ]


def sent(gateway: Gateway) -> list[httpx.Response]:
    """What came back from every route there is, good questions first."""
    http, strange = (
        gateway.http,
        {"X-Patient": HEADER, "Cookie": HEADER, "traceparent": HEADER, "baggage": f"n={HEADER}"},
    )
    post, json_type = http.post, {"Content-Type": "application/json"}
    good = [
        post(
            PREDICT,
            json={"request_id": f"good-{i}", "subject_id": SUBJECT, "features": GOOD | {"note": note}},
            headers=strange,
        )
        for i, note in enumerate((NOTE, fullwidth(NOTE), ZERO_WIDTH.join(NOTE)))
    ]
    assert [answer.status_code for answer in good] == [200] * 3
    replies = [post(PREDICT, json=question, headers=strange) for question in bad_questions()]
    assert {reply.status_code for reply in replies} == {422}
    replies += [
        post(PREDICT, content=content, headers=json_type)
        for content in (LOST, f'{{"{KEY_NAME}": NaN', f'{{"{KEY_NAME}": 1e999}}', b"\xff" + LOST.encode())
    ]
    replies += [
        post(PREDICT, json={}, headers={"X-API-Key": f"mt_{KEY_NAME}_{LOST}"}),
        post(PREDICT, json={}, headers={"Authorization": f"Bearer {LOST}.{NAME}.x"}),
        post(f"/api/v1/ml/predict/{PATH}", json={"subject_id": SUBJECT, "features": GOOD}),
        post("/api/v1/ml/predict", json={"subject_id": SUBJECT, "features": GOOD, "model": PATH}),
        http.get(f"/{PATH}/{NAME}?{KEY_NAME}={MRN}"),
        http.get(f"/api/v1/ml/models/{PATH}/performance?hours={LOST}"),
        http.get(f"/api/v1/ml/predictions/history?limit={LOST}&{KEY_NAME}={NAME}"),
        http.get("/api/v1/ml/predictions/history?limit=20"),
        http.get("/api/v1/ml/models/demo_risk/performance?hours=24"),
        http.get("/api/v1/ml/stats"),
        http.get("/api/v1/ml/models"),
        http.get("/openapi.json"),
    ]
    return good + replies + _outcomes(http) + _v2(http) + _batch(gateway)


def _outcomes(http: httpx.Client) -> list[httpx.Response]:
    truth = {"request_id": "good-0", "model": "demo_risk", "value": 1, "observed_at": "2026-01-31T09:30:00Z"}
    bad = [
        {"request_id": NAME + " "},
        {"model": PATH},
        {"value": int(VALUE)},
        {"value": LOST},
        {"observed_at": LOST},
        {FIELD: LOST},
    ]
    return [
        http.post("/api/v1/ml/outcomes", json=body)
        for body in (truth, [truth | b for b in bad], *(truth | b for b in bad))
    ]


def _v2(http: httpx.Client) -> list[httpx.Response]:
    width = CONTRACT.width
    row = [*V2_ROW[:-1], None]
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, width], "data": row}
    good = {"id": "v2-good", "parameters": {"subject_id": SUBJECT}, "inputs": [tensor]}
    bad: Sequence[dict[str, Any]] = [
        {"inputs": [tensor | {"data": [int(VALUE), *row[1:]]}]}, {"inputs": [tensor | {"data": [LOST, *row[1:]]}]},
        {"inputs": [tensor | {"name": LOST}]}, {"inputs": [tensor | {"datatype": LOST}]}, {"inputs": [tensor | {"shape": [1, int(VALUE)]}]},
        {"inputs": [tensor | {FIELD: LOST}]}, {"id": f"{NAME} {MRN}"}, {"parameters": {KEY_NAME: LOST}},
        {"parameters": {"subject_id": f" {SUBJECT}"}}, {"outputs": [{"name": LOST}]},
    ]  # fmt: skip
    infer, binary = "/v2/models/demo_risk/infer", {"Inference-Header-Content-Length": "2"}
    replies = [http.post(infer, json=good)]
    assert replies[0].status_code == 200, replies[0].text
    replies += [http.post(infer, json=good | {"id": f"v2-{i}"} | change) for i, change in enumerate(bad)]
    replies += [
        http.post(infer, content=b"{}" + LOST.encode() + struct.pack("<f", float(VALUE)), headers=binary),
        http.post(infer, content=b"{}", headers={"Inference-Header-Content-Length": LOST}),
        http.post(f"/v2/models/{PATH}/infer", json=good),
        http.post(f"/v2/models/demo_risk/versions/{PATH}/infer", json=good),
        http.get(f"/v2/models/{PATH}"),
        http.get(f"/v2/{PATH}"),
        http.get("/v2/models/demo_risk"),
    ]
    return replies


def _batch(gateway: Gateway) -> list[httpx.Response]:
    header, bad = "subject_id,age,sex,visits,smoker,marker,note,trace", BATCH_ROW.replace("70.5", VALUE)
    http, place = gateway.http, "/api/v1/ml/batch"
    tables = [
        "\r\n".join([header, BATCH_ROW, bad, f"{SUBJECT},{LOST}"]),
        "\r\n".join([header + f",{FIELD}", BATCH_ROW + ",1"]),
        LOST,
    ]
    csv = {"Content-Type": "text/csv"}
    replies = [
        http.post(place, params={"model": "demo_risk"}, content=t.encode(), headers=csv) for t in tables
    ]
    replies += [
        http.post(place, params={"model": PATH}, content=b"x", headers=csv),
        http.post(
            place,
            params={"model": "demo_risk"},
            content=LOST.encode(),
            headers={"Content-Type": f"text/{LOST}"},
        ),
        http.get(f"{place}/{PATH}"),
    ]
    assert replies[0].status_code in (200, 202), replies[0].text
    job = replies[0].json()["id"]
    wait_until(lambda: http.get(f"{place}/{job}").json()["state"] not in ("waiting", "running"), 60)
    return [*replies, http.get(f"{place}/{job}"), http.get(f"{place}/{job}/result")]


def stored(cluster: Cluster) -> str:
    """Every row of every table of the tower's database, as text. A superuser reads, so that nothing is hidden."""
    page = io.StringIO()
    connection = psycopg2.connect(cluster.superuser, dbname="medtower")
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE' "
            "and table_schema not in ('pg_catalog', 'information_schema')"
        )
        for schema, name in cursor.fetchall():
            cursor.copy_expert(
                sql.SQL("copy (select * from {}) to stdout").format(sql.Identifier(schema, name)), page
            )
    connection.close()
    return page.getvalue()


def told(place: str, text: str) -> list[str]:
    """The canaries in `text`, as they are or disguised."""
    seen = text.casefold() + normalised(text).casefold()
    return [f"{canary} in {place}" for canary in CANARIES if canary.casefold() in seen]


def test_08_what_identifies_a_patient_is_in_no_error_log_metric_trace_or_table(
    settings: Settings, triton: FakeTriton, clean_postgres: Cluster, lines: list[str]
) -> None:
    collector, hook, dsn = Collector(), Hook(), clean_postgres.dsn("medtower_gateway")
    with running(collector) as traces, running(hook) as webhook:
        more = {
            "dsn": SecretStr(dsn), "otlp_url": traces, "trace_ratio": 1.0, "log_successes": 100_000,
            "webhooks": {"crisis": SecretStr(webhook)}, "gateway_grpc_port": free_port(),
        }  # fmt: skip
        with started(settings.model_copy(update=more), triton, PredictionStore(dsn)) as gateway:
            publish(gateway.settings, {"demo_risk": CONTRACT}, demo_risk={1: 100})
            replies = sent(gateway)
            called = list(grpc_canaries.replies(gateway.settings.gateway_grpc_port, V2_ROW, WORDS))
            wait_until(lambda: gateway.app.state.parts.record.spool.depth()[0] == 0)
            metrics = gateway.http.get("/metrics").text
            spool = b"".join(p.read_bytes() for p in settings.path("spool").parent.iterdir())
    database = stored(clean_postgres)
    assert "[person]" in database  # the notes did arrive, without what was taken out
    assert "good-2" in database
    assert "grpc-good" in database
    assert b"[person]" in spool
    assert hook.heard
    assert collector.spans()
    assert len(lines) > 50
    found = [
        leak
        for reply in replies
        for leak in told(f"{reply.request.url.path} {reply.status_code}", _page(reply))
    ]
    found += [leak for line in lines for leak in told(f"the log: {line[:300]}", line)]
    found += told("the metrics", metrics) + told("the spool", spool.decode("utf-8", "ignore"))
    found += told("a trace", str(collector.spans())) + told(
        "the webhook", json.dumps([body for _, body in hook.heard])
    )
    found += told("the database", database) + [leak for place, said in called for leak in told(place, said)]
    assert found == []


def _page(reply: httpx.Response) -> str:
    return f"{reply.text} {dict(reply.headers)}"
