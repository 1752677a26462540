"""A lock by name that processes on any machine take in Postgres; it is free again the moment its holder dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from medtower.adapters.postgres.database import Database
from medtower.errors import Conflict


@contextmanager
def held(database: Database, name: str) -> Iterator[None]:
    """Hold the lock `name` for the work inside. Raises Conflict when another process holds it, Unavailable as `Database.transaction`.

    The connection is idle meanwhile: it keeps no snapshot, so it does not stand in the way of vacuum.
    """
    with database.transaction() as cursor:
        cursor.execute("select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (f"medtower/{name}",))
        row = cursor.fetchone()
        if row is None or not row[0]:
            raise Conflict(f"another process is at work on {name}; wait for it and run this again")
        yield
