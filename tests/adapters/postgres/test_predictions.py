"""Predictions and outcomes: nothing lost, nothing twice, reproducible as of any date."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.domain.prediction import Outcome, Prediction
from medtower.errors import InvalidInput, Refused, Unavailable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = NOON + timedelta(days=400)


def prediction(request_id: str = "r1", **changes) -> Prediction:
    values = {
        "request_id": request_id,
        "model": "als_risk",
        "version": 3,
        "digest": "a" * 64,
        "arm": "champion",
        "subject": "s1",
        "event_time": NOON,
        "received_at": NOON,
        "features": [1.5, None, -0.25],
        "prediction": 0.75,
        "confidence": 0.75,
        "requires_human_review": False,
        "latency_ms": 3.5,
    }
    return Prediction(**values | changes)


def outcome(request_id: str = "r1", value: float = 1.0, days: float = 5, **changes) -> Outcome:
    values = {
        "request_id": request_id,
        "model": "als_risk",
        "value": value,
        "observed_at": NOON,
        "arrived_at": NOON + timedelta(days=days),
    }
    return Outcome(**values | changes)


@pytest.fixture
def gateway(clean_postgres) -> PredictionStore:
    return PredictionStore(clean_postgres.dsn("medtower_gateway"))


@pytest.fixture
def airflow(clean_postgres) -> PredictionStore:
    return PredictionStore(clean_postgres.dsn("medtower_airflow"))


def test_what_was_written_is_read_back(gateway, airflow):
    assert gateway.write([prediction(), prediction("r0", event_time=NOON - timedelta(hours=1))]) == 2
    found = airflow.window("als_risk", 3, NOON - timedelta(days=1), END)
    assert found["request_id"] == ["r0", "r1"]
    assert found["event_time"] == [NOON - timedelta(hours=1), NOON]
    assert found["features"][1][0] == 1.5
    assert math.isnan(found["features"][1][1])
    assert found["prediction"] == [0.75, 0.75]
    assert found["latency_ms"] == [3.5, 3.5]
    assert found["subject"] == ["s1", "s1"]


def test_text_with_commas_quotes_and_newlines_survives_the_copy(gateway, airflow):
    odd = 'a,"b"\n\\N\t{}'
    gateway.write([prediction(odd, subject=odd)])
    assert airflow.window("als_risk", None, NOON, END)["subject"] == [odd]


def test_one_connection_takes_one_batch_after_the_other(clean_postgres, airflow):
    store = PredictionStore(clean_postgres.dsn("medtower_gateway"), keep=True)
    assert store.write([prediction("r1"), prediction("r2")]) == 2
    assert store.write([outcome("r1")]) == 1
    with pytest.raises(InvalidInput):
        store.write([prediction("r3", confidence=2.0)])
    assert store.write([prediction("r4")]) == 1
    assert airflow.window("als_risk", None, NOON, END)["request_id"] == ["r1", "r2", "r4"]


def test_the_same_request_written_again_is_one_row(gateway, airflow):
    assert gateway.write([prediction(), prediction()]) == 1
    assert gateway.write([prediction(prediction=0.1)]) == 0
    assert gateway.write([prediction(event_time=NOON + timedelta(days=3))]) == 0
    assert airflow.window("als_risk", None, NOON, END)["prediction"] == [0.75]


def test_several_shippers_with_the_same_rows_keep_each_once(clean_postgres, airflow):
    batch = [prediction(f"r{i}", event_time=NOON + timedelta(hours=i)) for i in range(300)]
    written: list[int] = []

    def ship(rows: list[Prediction]) -> None:
        written.append(PredictionStore(clean_postgres.dsn("medtower_gateway")).write(rows))

    threads = [threading.Thread(target=ship, args=(rows,)) for rows in (batch, batch[::-1], batch[100:200])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(written) == 3
    assert sum(written) == 300
    assert len(airflow.window("als_risk", None, NOON, END)["request_id"]) == 300


def test_a_batch_with_one_bad_row_is_not_written_at_all(gateway, airflow):
    with pytest.raises(InvalidInput, match="confidence"):
        gateway.write([prediction(), prediction("r2", confidence=1.5)])
    assert airflow.window("als_risk", None, NOON, END)["request_id"] == []
    assert gateway.write([prediction()]) == 1


def test_a_request_id_that_is_on_record_for_another_body_is_told_and_a_repetition_is_not(gateway):
    gateway.write([prediction(body_sha256="a"), prediction("r2", body_sha256="a")])
    again = [
        prediction(body_sha256="b", event_time=NOON + timedelta(days=91)),
        prediction("r2", body_sha256="a"),
        prediction("r3", body_sha256="c"),
    ]
    assert gateway.write(again) == 1
    assert gateway.reused(again) == ["r1"]


def test_many_days_are_made_in_portions_and_what_was_made_stays(gateway, monkeypatch):
    monkeypatch.setattr("medtower.adapters.postgres.predictions.DAYS_AT_ONCE", 2)
    many = [prediction(f"r{n}", event_time=NOON - timedelta(days=n)) for n in range(5)]
    made = []
    transaction = gateway._database.transaction
    monkeypatch.setattr(gateway._database, "transaction", lambda: made.append(1) or transaction())
    assert gateway.write(many) == 5
    assert len(made) == 4  # three portions of days, and the rows
    assert gateway.write(many) == 0
    assert len(made) == 5


def test_nothing_to_write_is_no_work(gateway):
    assert gateway.write([]) == 0


def test_a_day_is_a_day_in_utc_wherever_the_time_was_written(gateway, clean_postgres):
    east = timezone(timedelta(hours=9))
    gateway.write([prediction(event_time=datetime(2026, 5, 2, 3, tzinfo=east))])
    with Database(clean_postgres.dsn("medtower_owner")).transaction() as cursor:
        cursor.execute("select count(*) from medtower.predictions_20260501")
        assert cursor.fetchone() == (1,)


def test_a_query_over_one_day_reads_one_partition(gateway, clean_postgres):
    gateway.write([prediction(f"r{i}", event_time=NOON + timedelta(days=i)) for i in range(5)])
    with Database(clean_postgres.dsn("medtower_owner")).transaction() as cursor:
        cursor.execute(
            "explain select * from medtower.predictions where event_time >= %s and event_time < %s",
            (NOON, NOON + timedelta(hours=2)),
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "predictions_20260301" in plan
    assert "predictions_20260302" not in plan


def test_a_function_that_makes_partitions_refuses_a_century(clean_postgres):
    database = Database(clean_postgres.dsn("medtower_gateway"))
    with pytest.raises(InvalidInput, match="22023"), database.transaction() as cursor:
        cursor.execute("select medtower.ensure_partitions('1926-01-01', '2026-01-01')")


def test_an_outcome_counts_from_the_moment_it_arrived(gateway, airflow):
    gateway.write([prediction(), prediction("r2")])
    gateway.write([outcome(days=5)])
    before = airflow.labelled("als_risk", 3, NOON, END, NOON + timedelta(days=4))
    after = airflow.labelled("als_risk", 3, NOON, END, NOON + timedelta(days=5))
    assert [math.isnan(v) for v in before["outcome"]] == [True, True]
    assert after["outcome"][0] == 1.0
    assert math.isnan(after["outcome"][1])
    assert after["prediction"] == [0.75, 0.75]


def test_a_correction_leaves_yesterdays_report_as_it_was(gateway, airflow):
    gateway.write([prediction()])
    gateway.write([outcome(value=1.0, days=5)])
    gateway.write([outcome(value=0.0, days=9, source="review")])
    as_of = [
        airflow.labelled("als_risk", 3, NOON, END, NOON + timedelta(days=d))["outcome"] for d in (6, 9, 30)
    ]
    assert as_of == [[1.0], [0.0], [0.0]]


def test_the_same_arrival_delivered_twice_is_one_row(gateway):
    assert gateway.write([outcome(), outcome()]) == 1
    assert gateway.write([outcome()]) == 0
    assert gateway.write([outcome(value=0.0)]) == 1


def test_an_outcome_of_another_model_is_not_taken(gateway, airflow):
    gateway.write([prediction()])
    gateway.write([outcome(model="alzheimer_risk")])
    assert math.isnan(airflow.labelled("als_risk", 3, NOON, END, END)["outcome"][0])


def test_a_window_can_be_narrowed_to_one_version_and_ends_before_its_end(gateway, airflow):
    gateway.write(
        [prediction(), prediction("r2", version=4), prediction("r3", event_time=NOON + timedelta(days=1))]
    )
    assert airflow.labelled("als_risk", 4, NOON, END, END)["request_id"] == ["r2"]
    assert airflow.labelled("als_risk", None, NOON, NOON + timedelta(days=1), END)["version"] == [3, 4]
    assert airflow.window("als_risk", 4, NOON, END)["request_id"] == ["r2"]


def test_an_empty_window_is_empty_columns(airflow):
    found = airflow.labelled("als_risk", None, NOON, END, END)
    assert found["outcome"] == []
    assert found["features"] == []


def test_a_reader_cannot_write(clean_postgres):
    with pytest.raises(Refused):
        PredictionStore(clean_postgres.dsn("medtower_reader")).write([prediction()])


def test_postgres_down_is_unavailable_and_the_store_works_when_it_is_back(clean_postgres):
    store = PredictionStore(clean_postgres.dsn("medtower_gateway").replace(f":{clean_postgres.port}/", ":1/"))
    with pytest.raises(Unavailable):
        store.write([prediction()])
    assert PredictionStore(clean_postgres.dsn("medtower_gateway")).write([prediction()]) == 1
