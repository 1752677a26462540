"""A composition's own weights are on record beside the answer, and no reader counts the case twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.adapters.postgres.test_answered import NOON, prediction

from medtower.adapters.postgres import answered, rollout_record
from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.domain.prediction import Prediction

HOUR = timedelta(hours=1)
FROM, TO = NOON - HOUR, NOON + HOUR


@pytest.fixture
def recorded(clean_postgres) -> list[Prediction]:
    """One answer of als_risk, which is composed of its own weights and of frs_slope; and another answer of frs_slope, asked directly."""
    whole, other = prediction(1, request_id="visit-1"), prediction(2, request_id="visit-2", model="frs_slope")
    own = prediction(1, request_id="visit-1~own", part_of="visit-1", prediction=0.5, latency_ms=900.0)
    part = prediction(1, request_id="visit-1~slope", part_of="visit-1", model="frs_slope")
    rows = [own, whole, part, other]
    assert PredictionStore(clean_postgres.dsn("medtower_gateway")).write(rows) == len(rows)
    return rows


@pytest.fixture
def gateway(clean_postgres, recorded) -> Database:
    return Database(clean_postgres.dsn("medtower_gateway"), seconds=5, connect_seconds=2)


def test_every_part_is_on_record(clean_postgres, recorded):
    with Database(clean_postgres.dsn("medtower_reader")).transaction() as cursor:
        cursor.execute("select request_id from medtower.predictions")
        assert {name for (name,) in cursor.fetchall()} == {row.request_id for row in recorded}


def test_the_history_shows_an_answer_once_and_its_pages_stay_full(gateway):
    newest = answered.page(gateway, None, before=None, limit=3)
    assert [shown.request_id for shown in newest] == ["visit-2", "visit-1~slope", "visit-1"]


def test_statistics_and_live_performance_count_an_answer_once(gateway):
    counted = answered.counts(gateway, None, FROM, TO)
    assert [(each.model, each.n) for each in counted] == [("als_risk", 1), ("frs_slope", 2)]
    (live,) = answered.live(gateway, "als_risk", FROM, TO, TO)
    assert (live.answered, live.due, live.latency[0].n) == (1, 1, 1)


def test_tracking_and_drift_see_an_answer_once(clean_postgres, recorded):
    store = PredictionStore(clean_postgres.dsn("medtower_airflow"))
    assert store.labelled("als_risk", None, FROM, TO, TO)["request_id"] == ["visit-1"]
    assert store.window("als_risk", 3, FROM, TO)["request_id"] == ["visit-1"]
    assert len(store.window("frs_slope", None, FROM, TO)["request_id"]) == 2


def test_a_verdict_over_an_arm_has_an_answer_once(clean_postgres, recorded):
    record = rollout_record.RolloutRecord(clean_postgres.dsn("medtower_airflow"))
    arm = record.arm("als_risk", 3, FROM, TO, TO)
    assert arm["prediction"].tolist() == [0.75]


def test_only_the_function_for_it_says_what_an_own_part_is(clean_postgres):
    with Database(clean_postgres.dsn("medtower_reader")).transaction() as cursor:
        cursor.execute(
            "select id, medtower.is_own_part(id) from unnest(array['a', 'a~own', 'a~b', 'a~b~own', 'own', 'a~own~b']) id"
        )
        assert [name for name, own in cursor.fetchall() if own] == ["a~own", "a~b~own"]
