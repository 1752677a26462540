"""Incidents: opened once by key, closed once with a resolution."""

from __future__ import annotations

from datetime import datetime

from medtower.adapters.postgres.database import Database
from medtower.domain.incident import Incident
from medtower.errors import NotFound

_COLUMNS = tuple(Incident.model_fields)


def open(database: Database, incident: Incident) -> bool:
    """Keep `incident`; False when its key is there already, open or closed, and nothing was changed."""
    values = incident.model_dump()
    with database.transaction() as cursor:
        cursor.execute(
            "insert into medtower.incidents"
            " (key, model, version, kind, severity, summary, opened_at, closed_at, resolution)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict (key) do nothing",
            tuple(values[column] for column in _COLUMNS),
        )
        return cursor.rowcount == 1


def close(database: Database, key: str, *, at: datetime, resolution: str) -> bool:
    """Close the incident; False when it was closed before, whose resolution stands. Raises NotFound for an unknown key."""
    with database.transaction() as cursor:
        cursor.execute(
            "update medtower.incidents set closed_at = %s, resolution = %s where key = %s and closed_at is null",
            (at, resolution, key),
        )
        if cursor.rowcount == 1:
            return True
        cursor.execute("select 1 from medtower.incidents where key = %s", (key,))
        if cursor.fetchone() is None:
            raise NotFound(f"incident {key}", "the database")
        return False


def find(database: Database, model: str | None = None, *, only_open: bool = False) -> list[Incident]:
    """The incidents of `model`, or of all models, oldest first."""
    with database.transaction() as cursor:
        cursor.execute(
            "select key, model, version, kind, severity, summary, opened_at, closed_at, resolution from medtower.incidents"
            " where (%s::text is null or model = %s) and not (%s and closed_at is not null) order by opened_at, key",
            (model, model, only_open),
        )
        return [Incident.model_validate(dict(zip(_COLUMNS, row, strict=True))) for row in cursor.fetchall()]
