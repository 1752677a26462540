"""Migration 0005 finds the record of an earlier schema, and keeps all of it."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg2

from medtower.adapters.postgres import answered, migrate
from medtower.adapters.postgres.database import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW = """
select medtower.ensure_partitions('2026-03-01', '2026-03-01');
insert into medtower.requests values ('r1', '2026-03-01 10:00Z'), ('gone', '2026-03-01 09:00Z');
insert into medtower.predictions
    (request_id, model, version, digest, arm, subject, event_time, received_at, features, prediction, confidence, requires_human_review, latency_ms, body_sha256)
values ('r1', 'als_risk', 1, 'a', 'current', 's', '2026-03-01 10:00Z', '2026-03-01 12:00Z', '{1}', 0.5, 0.5, false, 1, 'b');
"""


def test_predictions_of_before_are_found_by_when_they_came_in(postgres, monkeypatch):
    connection = psycopg2.connect(postgres.superuser)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("create database earlier owner medtower_owner")
    connection.close()
    upgrade = migrate.command.upgrade
    owner = postgres.dsn("medtower_owner", "earlier")
    with monkeypatch.context() as patched:
        patched.setattr(migrate.command, "upgrade", lambda config, _: upgrade(config, "0004"))
        migrate.migrate(owner)
    with Database(owner).transaction() as cursor:
        cursor.execute(ROW)
    migrate.migrate(owner)
    (shown,) = answered.page(
        Database(postgres.dsn("medtower_gateway", "earlier")), ["als_risk"], before=None, limit=9
    )
    assert (shown.request_id, shown.received_at, shown.caller, shown.cached) == ("r1", NOON, "", False)
    with Database(owner).transaction() as cursor:
        cursor.execute("select request_id, received_at, model from medtower.requests order by 1")
        assert cursor.fetchall() == [("gone", NOON.replace(hour=9), ""), ("r1", NOON, "als_risk")]
