"""The reconciler's audit trail: behind its back, in order, and not held up for ever by an event that Postgres never takes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg2
import pytest
from tests.fixtures.postgres import Cluster

from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.audit import chain
from medtower.domain.audit_event import AuditEvent, ChainedEvent
from medtower.wait import wait_until
from medtower.workflows import reconciler_process
from medtower.workflows.reconciler_process import Trail


def event(subject: str) -> AuditEvent:
    return AuditEvent(
        at=datetime(2026, 3, 1, tzinfo=UTC),
        actor="reconciler",
        action="serves",
        subject=subject,
    )


@pytest.fixture
def database(clean_postgres: Cluster) -> Database:
    return Database(clean_postgres.dsn("medtower_reconciler"))


@pytest.fixture
def trail(database: Database) -> Iterator[Trail]:
    running = Trail(database)
    running.start()
    yield running
    running.stop(30)
    assert not running.is_alive()


@pytest.fixture
def rule(clean_postgres: Cluster) -> Iterator[None]:
    """A rule of the schema that one event breaks, however often it is tried."""
    connection = psycopg2.connect(clean_postgres.dsn("medtower_owner"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            "alter table medtower.audit add constraint no_such_event check (event->>'subject' <> 'refused 1')"
        )
        yield
        cursor.execute("alter table medtower.audit drop constraint no_such_event")
    connection.close()


def subjects(database: Database) -> list[str]:
    found = rows.read(database)
    chain.verify(found)
    return [e.event.subject for e in found]


def test_an_event_that_postgres_refuses_for_good_is_told_and_those_behind_it_are_kept(
    database: Database, rule: None, trail: Trail, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for e in (event("first 1"), event("refused 1"), event("last 1")):
            trail.add(e)
        trail.stop(30)
    assert subjects(database) == ["first 1", "last 1"]
    refused, left = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "refused 1" in refused
    assert left.startswith("1 events are not in the audit trail")


def test_what_was_refused_is_tried_again_and_only_the_metric_forgets_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody thought of ends neither the thread nor the event."""
    monkeypatch.setattr(reconciler_process, "AGAIN_SECONDS", 0.05)
    right, calls, waiting = chain.link, iter(range(4)), []

    def broken_at_first(previous: str, sequence: int, one: AuditEvent) -> ChainedEvent:
        if one.subject == "first 1" and next(calls, None) is not None:
            raise ValueError("nobody thought of this")
        return right(previous, sequence, one)

    monkeypatch.setattr(chain, "link", broken_at_first)
    trail = Trail(database, waiting.append)
    trail.start()
    for subject in ("first 1", "second 1"):
        trail.add(event(subject))
    assert wait_until(lambda: len(rows.read(database)) == 2, 30)
    trail.stop(30)
    assert subjects(database) == ["second 1", "first 1"]
    assert max(waiting) == 2 and waiting[-1] == 0
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(told) == 1 and "first 1" in told[0]


def test_what_the_end_of_the_process_takes_along_is_told(caplog: pytest.LogCaptureFixture) -> None:
    trail = Trail(Database("host=127.0.0.1 port=1"))
    trail.start()
    trail.add(event("first 1"))
    trail.stop(0.2)
    assert "1 events are not in the audit trail" in caplog.text


def test_while_postgres_is_away_no_event_is_dropped(
    clean_postgres: Cluster, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler_process, "RETRY_SECONDS", 0.05)
    right, calls = database.connect, iter(range(3))

    def away_at_first() -> object:
        return Database("host=127.0.0.1 port=1").connect() if next(calls, None) is not None else right()

    monkeypatch.setattr(database, "connect", away_at_first)
    trail = Trail(database)
    trail.start()
    for subject in ("first 1", "second 1"):
        trail.add(event(subject))
    trail.stop(30)
    monkeypatch.undo()
    assert subjects(database) == ["first 1", "second 1"]
