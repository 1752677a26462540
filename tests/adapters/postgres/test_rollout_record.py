"""What a rollout is judged by, from the gateway's role into the judge's arrays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import numpy as np
import psycopg2
import pytest
from tests.fixtures.postgres import Cluster

from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.adapters.postgres.rollout_record import RolloutRecord
from medtower.domain.prediction import Failure, Outcome, Prediction, Shadowed
from medtower.errors import Conflict, InvalidInput, NotFound, Refused
from medtower.rollout.observed import Arm, Pairs

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
COMMON = {"model": "als_risk", "digest": "a" * 64, "subject": "s1", "latency_ms": 3.5, "received_at": NOON}
# as a caller might send it: no verdict looks at it
COMMON["event_time"] = NOON - timedelta(days=700)


def prediction(request_id: str, version: int, **changes: Any) -> Prediction:
    values = COMMON | {
        "request_id": request_id, "version": version, "arm": "current", "features": [1.0], "prediction": 0.75,
        "confidence": 0.75, "requires_human_review": False,
    }  # fmt: skip
    return Prediction(**values | changes)


def failure(request_id: str, version: int = 4, **changes: Any) -> Failure:
    values = COMMON | {"request_id": request_id, "version": version, "arm": "candidate", "code": 502}
    return Failure(**values | changes)


def shadowed(request_id: str, **changes: Any) -> Shadowed:
    values = COMMON | {
        "request_id": request_id, "version": 4, "prediction": 0.25, "current_version": 3, "current_prediction": 0.75,
        "current_latency_ms": 2.5, "disagrees": True,
    }  # fmt: skip
    return Shadowed(**values | changes)


@pytest.fixture
def gateway(clean_postgres: Cluster) -> PredictionStore:
    return PredictionStore(clean_postgres.dsn("medtower_gateway"))


@pytest.fixture
def record(clean_postgres: Cluster) -> RolloutRecord:
    return RolloutRecord(clean_postgres.dsn("medtower_airflow"))


def test_an_arm_is_what_its_version_answered_and_what_it_failed_at(
    gateway: PredictionStore, record: RolloutRecord
) -> None:
    gateway.write(
        [
            prediction("r1", 4, arm="candidate", prediction=0.5),
            prediction("r3", 4, arm="candidate", received_at=NOON + 2 * HOUR, subject="s3"),
            prediction("r9", 3),
        ]
    )
    gateway.write([failure("r2", received_at=NOON + HOUR, latency_ms=9.0, subject="s2")])
    gateway.write(
        [Outcome(request_id="r1", model="als_risk", value=1, observed_at=NOON, arrived_at=NOON + DAY)]
    )
    found = record.arm("als_risk", 4, NOON, NOON + DAY, NOON + DAY)
    assert found["version"] == 4
    assert found["subjects"].tolist() == ["s1", "s2", "s3"]
    assert found["at"].tolist() == [NOON.timestamp() + 3600 * n for n in range(3)]
    assert found["failed"].tolist() == [False, True, False]
    assert found["latency_ms"].tolist() == [3.5, 9.0, 3.5]
    np.testing.assert_array_equal(found["prediction"], [0.5, np.nan, 0.75])
    np.testing.assert_array_equal(found["outcome"], [1, np.nan, np.nan])
    assert len(Arm(**found)) == 3
    before = record.arm("als_risk", 4, NOON, NOON + DAY, NOON + HOUR)
    assert np.isnan(before["outcome"]).all()


def test_what_the_incumbent_answered_for_a_candidate_that_failed_is_the_candidates_alone(
    gateway: PredictionStore, record: RolloutRecord
) -> None:
    gateway.write([prediction("own", 3), prediction("instead", 3)])
    gateway.write([failure("instead"), failure("both"), failure("both", 3, arm="current")])
    gateway.write([failure("own failure", 3, arm="current", subject="s2")])
    current = record.arm("als_risk", 3, NOON, NOON + DAY, NOON + DAY)
    assert current["failed"].tolist() == [False, True]
    assert current["subjects"].tolist() == ["s1", "s2"]
    candidate = record.arm("als_risk", 4, NOON, NOON + DAY, NOON + DAY)
    assert candidate["failed"].tolist() == [True, True]


def test_a_candidate_that_answered_at_the_second_attempt_has_both_on_record(
    gateway: PredictionStore, record: RolloutRecord
) -> None:
    gateway.write([failure("r1")])
    gateway.write([prediction("r1", 4, arm="candidate")])
    assert record.arm("als_risk", 4, NOON, NOON + DAY, NOON + DAY)["failed"].tolist() == [False, True]


def test_rehearsed_traffic_other_windows_and_other_models_are_left_out(
    gateway: PredictionStore, record: RolloutRecord
) -> None:
    gateway.write([prediction("r1", 3, arm="replay"), prediction("r2", 3, received_at=NOON + DAY)])
    gateway.write([prediction("r3", 3, model="other"), prediction("r4", 3, received_at=NOON - HOUR)])
    gateway.write([failure("r5", received_at=NOON + DAY), failure("r6", model="other")])
    for version in (3, 4):
        found = record.arm("als_risk", version, NOON, NOON + DAY, NOON + DAY)
        assert [len(v) for k, v in found.items() if k != "version"] == [0] * 6
        assert found["failed"].dtype == np.bool_


def test_a_row_that_comes_twice_is_kept_once(gateway: PredictionStore) -> None:
    assert gateway.write([failure("r1"), failure("r1"), failure("r1", 3, arm="current")]) == 2
    assert gateway.write([failure("r1", code=504)]) == 0
    assert gateway.write([shadowed("r1"), shadowed("r1")]) == 1
    assert gateway.write([shadowed("r1", prediction=0.9)]) == 0


def test_the_pairs_of_the_shadow(gateway: PredictionStore, record: RolloutRecord) -> None:
    late = {"received_at": NOON + HOUR, "prediction": None, "disagrees": False, "latency_ms": 2000.0}
    gateway.write([shadowed("r1"), shadowed("r2", **late), shadowed("r3", version=5)])
    gateway.write([shadowed("r4", received_at=NOON + DAY)])
    found = record.pairs("als_risk", 4, NOON, NOON + DAY)
    assert found["subjects"].tolist() == ["s1", "s1"]
    assert found["current"].tolist() == [0.75, 0.75]
    np.testing.assert_array_equal(found["candidate"], [0.25, np.nan])
    assert found["failed"].tolist() == [False, True]
    assert found["latency_ms"].tolist() == [3.5, 2000.0]
    assert found["current_latency_ms"].tolist() == [2.5, 2.5]
    assert len(Pairs(**found)) == 2
    assert len(Pairs(**record.pairs("als_risk", 9, NOON, NOON + DAY))) == 0


def test_disagreements_wait_in_the_order_they_came_until_they_are_reviewed_once(
    gateway: PredictionStore, record: RolloutRecord
) -> None:
    gateway.write([shadowed("r2", received_at=NOON + HOUR), shadowed("r1")])
    gateway.write([shadowed("r3", disagrees=False), shadowed("r4", model="other")])
    queue = record.disagreements("als_risk", 10)
    assert [d["request_id"] for d in queue] == ["r1", "r2"]
    assert queue[0] == {
        "request_id": "r1",
        "model": "als_risk",
        "version": 4,
        "subject": "s1",
        "event_time": COMMON["event_time"],
        "prediction": 0.25,
        "current_version": 3,
        "current_prediction": 0.75,
    }
    assert len(record.disagreements("als_risk", 1)) == 1
    record.review("r1", "als_risk", 4, by="clinical@example.org", right="candidate")
    assert [d["request_id"] for d in record.disagreements("als_risk", 10)] == ["r2"]
    with pytest.raises(Conflict, match="already"):
        record.review("r1", "als_risk", 4, by="clinical@example.org", right="current")
    for unknown in ("r3", "r9"):
        with pytest.raises(NotFound):
            record.review(unknown, "als_risk", 4, by="clinical@example.org", right="current")
    with pytest.raises(InvalidInput, match="review"):
        record.review("r2", "als_risk", 4, by="clinical@example.org", right="maybe")  # type: ignore[arg-type]


def test_predictions_from_before_it_was_kept_came_in_when_the_database_got_them(
    clean_postgres: Cluster, gateway: PredictionStore
) -> None:
    gateway.write([prediction("r1", 4, arm="candidate")])
    connection = psycopg2.connect(clean_postgres.superuser.rsplit("/", 1)[0] + "/medtower")
    with connection.cursor() as cursor:
        cursor.execute("drop view medtower.answers")
        cursor.execute("alter table medtower.predictions drop column received_at")
        cursor.execute("set role medtower_owner")
        cursor.execute(import_module("medtower.adapters.postgres.migrations.versions.0004_rollouts").RECEIVED)
        cursor.execute("select received_at = recorded_at from medtower.predictions")
        assert cursor.fetchall() == [(True,)]
    connection.rollback()  # a column that was dropped comes back without the grants that others rely on
    connection.close()


def test_that_the_breaker_of_a_release_opened_is_on_record_whatever_time_the_caller_gave(
    gateway: PredictionStore, record: RolloutRecord
) -> None:
    gateway.write([failure("r1"), failure("r2", opened=True, received_at=NOON + HOUR)])
    gateway.write([failure("r3", opened=True, received_at=NOON + DAY)])
    assert record.opened("als_risk", "a" * 64) == NOON + HOUR
    assert record.opened("als_risk", "b" * 64) is None
    assert record.opened("other", "a" * 64) is None


def test_no_caller_moves_a_request_before_another_by_the_time_he_gives(
    gateway: PredictionStore, record: RolloutRecord
) -> None:
    """A patient's first request is what counts of him: a failure stays the first when a success is dated back before it."""
    gateway.write([failure("failed", event_time=NOON)])
    again = {"event_time": NOON - 2 * HOUR, "received_at": NOON + HOUR}
    gateway.write([prediction("again", 4, arm="candidate", **again)])
    gateway.write([shadowed("s2", **again), shadowed("s1", event_time=NOON, prediction=0.5)])
    arm = Arm(**record.arm("als_risk", 4, NOON, NOON + DAY, NOON + DAY))
    assert arm.failed[arm.first()].tolist() == [True]
    assert record.pairs("als_risk", 4, NOON, NOON + DAY)["candidate"].tolist() == [0.5, 0.25]
    assert [d["request_id"] for d in record.disagreements("als_risk", 9)] == ["s1", "s2"]


def test_only_airflow_reviews_and_nobody_rewrites_what_was_scored(
    gateway: PredictionStore, clean_postgres: Cluster
) -> None:
    gateway.write([shadowed("r1")])
    gateway.write([failure("r1")])
    for role in ("medtower_reader", "medtower_gateway"):
        with pytest.raises(Refused):
            RolloutRecord(clean_postgres.dsn(role)).review("r1", "als_risk", 4, by="x", right="current")
    RolloutRecord(clean_postgres.dsn("medtower_airflow")).review("r1", "als_risk", 4, by="x", right="current")
    owner = Database(clean_postgres.dsn("medtower_owner"))
    for statement in (
        "update medtower.shadows set prediction = 0.9",
        "update medtower.shadows set review = 'candidate'",
        "delete from medtower.shadows",
        "truncate medtower.shadows",
        "update medtower.failures set code = 503",
        "delete from medtower.failures",
    ):
        with pytest.raises(Refused, match="append-only"), owner.transaction() as cursor:
            cursor.execute(statement)
