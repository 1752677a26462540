"""The audit trail's rows. How one event is chained to the one before is the caller's `link` (`medtower.audit.chain.link`)."""

from __future__ import annotations

import json
from collections.abc import Callable

import rfc8785

from medtower.adapters.postgres.database import Cursor, Database
from medtower.domain.audit_event import GENESIS, AuditEvent, ChainedEvent

Link = Callable[[str, int, AuditEvent], ChainedEvent]


def append(database: Database, event: AuditEvent, link: Link) -> ChainedEvent:
    """Add `event` at the end of the chain and return it in its place. Writers wait for each other, so the sequence has no gap.

    The database computes the digest again and raises InvalidInput when `link` did not continue the chain.
    """
    with database.transaction() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('medtower.audit'))")
        sequence, digest = _head(cursor)
        chained = link(digest, sequence + 1, event)
        cursor.execute(
            "insert into medtower.audit (sequence, event, previous, digest) values (%s, %s, %s, %s)",
            (
                chained.sequence,
                rfc8785.dumps(chained.event.model_dump(mode="json")).decode(),
                chained.previous,
                chained.digest,
            ),
        )
        return chained


def read(database: Database, *, after: int = 0) -> list[ChainedEvent]:
    """The events with a sequence greater than `after`, in order."""
    with database.transaction() as cursor:
        cursor.execute(
            "select sequence, event::text, previous, digest from medtower.audit where sequence > %s order by sequence",
            (after,),
        )
        return _events(cursor)


def about(database: Database, digest: str, actor: str, *actions: str) -> list[ChainedEvent]:
    """The events in which `actor` did one of `actions` with the release `digest`, in order."""
    with database.transaction() as cursor:
        cursor.execute(
            "select sequence, event::text, previous, digest from medtower.audit "
            """where substring(event::text from '"digest":"([0-9a-f]{64})"') = %s order by sequence""",
            (digest,),
        )
        found = [c for c in _events(cursor) if c.event.details.get("digest") == digest]
        return [c for c in found if c.event.actor == actor and c.event.action in actions]


def head(database: Database) -> tuple[int, str]:
    """Sequence and digest of the last event, for anchoring elsewhere; (0, GENESIS) when there is none."""
    with database.transaction() as cursor:
        return _head(cursor)


def _events(cursor: Cursor) -> list[ChainedEvent]:
    return [
        ChainedEvent(
            sequence=n,
            event=AuditEvent.model_validate(json.loads(event)),
            previous=previous,
            digest=digest,
        )
        for n, event, previous, digest in cursor.fetchall()
    ]


def _head(cursor: Cursor) -> tuple[int, str]:
    cursor.execute("select sequence, digest from medtower.audit order by sequence desc limit 1")
    row = cursor.fetchone()
    return (0, GENESIS) if row is None else (int(row[0]), str(row[1]))
