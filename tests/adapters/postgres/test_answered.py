"""What the gateway shows again of the record, read with the gateway's own role."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from medtower.adapters.postgres import answered
from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.domain.prediction import Failure, Outcome, Prediction, RedactedText
from medtower.statistics.quantile import quantile_interval

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def prediction(n: int, **changes) -> Prediction:
    values = {
        "request_id": f"r{n:04}",
        "model": "als_risk",
        "version": 3,
        "digest": "a" * 64,
        "arm": "current",
        "subject": f"s{n}",
        "event_time": NOON,
        "received_at": NOON + n * MINUTE,
        "features": [1.5, None],
        "prediction": 0.75,
        "confidence": 0.75,
        "requires_human_review": False,
        "latency_ms": 1.0 + n,
        "caller": "k1",
    }
    return Prediction(**values | changes)


def failure(n: int, **changes) -> Failure:
    of = prediction(n)
    kept = {name: getattr(of, name) for name in Failure.columns() if hasattr(of, name)}
    return Failure(**kept | {"code": 502} | changes)


@pytest.fixture
def store(clean_postgres) -> PredictionStore:
    return PredictionStore(clean_postgres.dsn("medtower_gateway"))


@pytest.fixture
def database(clean_postgres) -> Database:
    return Database(clean_postgres.dsn("medtower_gateway"), seconds=5, connect_seconds=2)


def test_pages_are_newest_first_and_join_without_a_gap_or_an_overlap(store, database):
    # three of them came in at the same moment, and the oldest case is of the newest request
    rows = [prediction(n, received_at=NOON + min(n, 4) * MINUTE, event_time=NOON - n * DAY) for n in range(7)]
    store.write(rows)
    newest = sorted(rows, key=lambda p: (p.received_at, p.request_id), reverse=True)
    found, before = [], None
    while page := answered.page(database, None, before=before, limit=3):
        found += page
        before = (page[-1].received_at, page[-1].request_id)
    assert [shown.request_id for shown in found] == [p.request_id for p in newest]
    assert (found[0].caller, found[0].subject, found[0].event_time) == ("k1", "s6", NOON - 6 * DAY)


def test_a_page_can_be_of_one_model_or_some(store, database):
    store.write([prediction(n, model=f"model_{n % 3}") for n in range(9)])
    one = answered.page(database, ["model_1"], before=None, limit=100)
    assert [shown.request_id for shown in one] == ["r0007", "r0004", "r0001"]
    some = answered.page(database, ["model_1", "model_2"], before=None, limit=2)
    assert [shown.request_id for shown in some] == ["r0008", "r0007"]
    assert answered.page(database, [], before=None, limit=2) == []


@pytest.mark.parametrize(
    ("condition", "days"),
    [
        (answered.sql.SQL("event_time = any({})").format(answered.sql.Literal([NOON, NOON + DAY])), 2),
        (answered._on([NOON.date(), (NOON + DAY).date(), (NOON + 9 * DAY).date()]), 3),
        (answered._on([]), 0),
    ],
)
def test_a_question_opens_the_partitions_of_its_days_only(store, database, condition, days):
    store.write([prediction(n, event_time=NOON + n * DAY) for n in range(30)])
    with database.transaction() as cursor:
        cursor.execute(answered.sql.SQL("explain select 1 from medtower.answers where {}").format(condition))
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert len(set(re.findall(r"predictions_\d{8}", plan))) == days


def test_what_was_added_to_a_prediction_is_kept(store, clean_postgres):
    text = {"note": RedactedText(redacted='<PERSON>, "quoted"', sha256="b" * 64)}
    store.write([prediction(1, cached=True, part_of="r0000", texts=text)])
    with Database(clean_postgres.dsn("medtower_reader")).transaction() as cursor:
        cursor.execute("select cached, part_of, caller, texts from medtower.predictions")
        assert cursor.fetchall() == [(True, "r0000", "k1", {"note": json.loads(text["note"].json())})]


def test_counts_are_by_model_version_arm_and_code_of_the_window(store, database):
    store.write([prediction(n) for n in range(5)] + [prediction(9, version=4, arm="candidate")])
    store.write([failure(7), failure(8, code=504, version=4, arm="candidate"), failure(500)])
    found = answered.counts(database, None, NOON + MINUTE, NOON + 60 * MINUTE)
    assert [(c.version, c.arm, c.code, c.n) for c in found] == [
        (3, "current", 200, 4),
        (3, "current", 502, 1),
        (4, "candidate", 200, 1),
        (4, "candidate", 504, 1),
    ]
    assert answered.counts(database, ["other"], NOON, NOON + DAY) == []


def test_a_live_window_says_what_was_answered_failed_and_labelled(store, database):
    store.write(
        [
            prediction(1),
            prediction(2, requires_human_review=True, event_time=NOON - 3 * DAY),
            prediction(3, cached=True, event_time=NOON - 9 * DAY),
            prediction(4, event_time=NOON - 9 * DAY),
        ]
    )
    store.write([failure(5), failure(6), failure(7, code=504), failure(8, version=5)])
    outcome = {"value": 1, "observed_at": NOON, "arrived_at": NOON}
    store.write(
        [
            Outcome(request_id="r0004", model="als_risk", **outcome),
            Outcome(request_id="r0004", model="als_risk", **outcome | {"value": 0}),
            Outcome(request_id="r0003", model="other", **outcome),
            Outcome(request_id="r0001", model="als_risk", **outcome),
        ]
    )
    three, five = answered.live(database, "als_risk", NOON, NOON + DAY, NOON - DAY)
    assert (three.version, three.answered, three.for_review, three.cached) == (3, 4, 1, 1)
    assert (three.due, three.labelled) == (3, 1)
    assert three.failures == {502: 2, 504: 1}
    assert (five.version, five.answered, five.failures) == (5, 0, {502: 1})
    assert [(q.n, q.value, q.lower) for q in three.latency] == [(3, None, None)] * 3
    assert five.latency[0].n == 0


def test_latency_in_the_database_is_what_order_statistics_say(store, database):
    rng = np.random.default_rng(7)
    values = rng.lognormal(size=700)
    store.write([prediction(n, latency_ms=float(v)) for n, v in enumerate(values)])
    (three,) = answered.live(database, "als_risk", NOON, NOON + DAY, NOON)
    for quantile in three.latency:
        expected = quantile_interval(values, quantile.q)
        assert expected is not None
        assert (quantile.value, quantile.lower, quantile.upper) == pytest.approx(expected, rel=1e-12)
