"""The audit trail on a real server, chained by the real link."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import psycopg2
import pytest

from medtower.adapters.postgres import audit
from medtower.adapters.postgres.database import Database
from medtower.audit.chain import GENESIS, ChainBroken, link, verify
from medtower.domain.audit_event import AuditEvent, ChainedEvent
from medtower.errors import InvalidInput


def event(n: int = 1, /, **details) -> AuditEvent:
    at = datetime(2026, 3, 1, 12, 0, n, 123456, tzinfo=UTC)
    return AuditEvent(
        at=at, actor="clinical@example.org", action="approved", subject="als_risk 3", details=details
    )


@pytest.fixture
def database(clean_postgres) -> Database:
    return Database(clean_postgres.dsn("medtower_reconciler"))


@pytest.fixture
def forger(clean_postgres):
    """A superuser who can switch the triggers off."""
    connection = psycopg2.connect(clean_postgres.superuser.rsplit("/", 1)[0] + "/medtower")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        yield cursor
    connection.close()


def test_the_events_about_one_release_are_found_by_what_its_actor_did(database):
    one, other = "a" * 64, "b" * 64
    for number, (digest, actor, action) in enumerate(
        [
            (one, "reconciler", "serves"),
            (other, "reconciler", "serves"),
            (one, "clinical@example.org", "serves"),
            (one, "reconciler", "refuses"),
            (one, "reconciler", "routes"),
        ]
    ):
        told = event(number, digest=digest, arms="current:3@100", reason="\x00")
        audit.append(database, told.model_copy(update={"actor": actor, "action": action}), link)
    audit.append(database, event(9, note=f'"digest":"{one}"'), link)
    assert [e.sequence for e in audit.about(database, one, "reconciler", "serves", "routes")] == [1, 5]
    assert audit.about(database, "c" * 64, "reconciler", "serves") == []


def test_events_are_numbered_chained_and_read_back_whole(database):
    assert audit.head(database) == (0, GENESIS)
    kept = [audit.append(database, event(n, n=n, share=0.5, note='„ü"\\ \x00'), link) for n in range(1, 4)]
    assert [e.sequence for e in kept] == [1, 2, 3]
    assert audit.read(database) == kept
    assert audit.read(database, after=2) == kept[2:]
    assert verify(audit.read(database)) == 3
    assert audit.head(database) == (3, kept[2].digest)


def test_many_writers_at_once_leave_no_gap(clean_postgres):
    def write(role: str) -> None:
        database = Database(clean_postgres.dsn(role))
        for n in range(5):
            audit.append(database, event(n), link)

    threads = [threading.Thread(target=write, args=(f"medtower_{r}",)) for r in ("airflow", "reconciler") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert verify(audit.read(Database(clean_postgres.dsn("medtower_reader")))) == 20


@pytest.mark.parametrize(
    "forge",
    [
        lambda previous, n, e: link(previous, n + 1, e),
        lambda _previous, n, e: link("f" * 64, n, e),
        lambda previous, n, e: ChainedEvent(sequence=n, event=e, previous=previous, digest="f" * 64),
    ],
)
def test_the_database_refuses_an_event_that_does_not_continue_the_chain(database, forge):
    audit.append(database, event(), link)
    with pytest.raises(InvalidInput):
        audit.append(database, event(2), forge)
    assert verify(audit.read(database)) == 1


@pytest.mark.parametrize(
    ("forgery", "named"),
    [
        (
            "update medtower.audit set event = replace(event::text, 'als_risk 3', 'als_risk 4')::json where sequence = 2",
            2,
        ),
        ("delete from medtower.audit where sequence = 2", 2),
        (
            "update medtower.audit a set event = b.event from medtower.audit b"
            " where (a.sequence, b.sequence) in ((2, 3), (3, 2))",
            2,
        ),
        ("update medtower.audit set digest = repeat('a', 64) where sequence = 3", 3),
    ],
)
def test_a_row_edited_deleted_or_swapped_past_the_triggers_is_named(database, forger, forgery, named):
    for n in range(1, 5):
        audit.append(database, event(n, n=n), link)
    forger.execute(forgery)
    with pytest.raises(ChainBroken) as caught:
        verify(audit.read(database))
    assert caught.value.sequence == named


def test_a_tail_that_was_cut_disagrees_with_the_anchored_head(database, forger):
    for n in range(1, 4):
        audit.append(database, event(n), link)
    anchor = audit.head(database)
    forger.execute("delete from medtower.audit where sequence = 3")
    assert verify(audit.read(database)) == 2
    with pytest.raises(ChainBroken, match="event 3"):
        verify(audit.read(database), anchor=anchor)


def test_an_event_that_cannot_be_hashed_is_not_kept(database):
    with pytest.raises(InvalidInput, match="not JSON"):
        audit.append(database, event(1, share=float("nan")), link)
    assert audit.head(database)[0] == 0
