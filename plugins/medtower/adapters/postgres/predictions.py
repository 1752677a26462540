"""Predictions, the ground truth that comes later, and what a rollout is judged by beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from datetime import UTC, date, datetime
from typing import TypedDict, cast

from psycopg2 import sql

from medtower.adapters.postgres.bulk import Table, copy, names
from medtower.adapters.postgres.database import Database
from medtower.domain.prediction import KINDS, Prediction, Recorded

# Sorted by request_id, so that two shippers with the same rows wait for each other instead of deadlocking.
_INSERT_PREDICTIONS = sql.SQL("""
with {staging}, fresh as (
    insert into medtower.requests (request_id, event_time, received_at, model)
    select distinct on (request_id) request_id, event_time, received_at, model from staging order by request_id, event_time
    on conflict do nothing
    returning request_id, event_time
)
insert into medtower.predictions ({columns})
select {columns} from staging join fresh using (request_id, event_time)
on conflict do nothing
""")
_INSERT_OUTCOMES = sql.SQL("""
with {staging}
insert into medtower.outcomes ({columns})
select {columns} from staging order by request_id
on conflict do nothing
""")
_INSERT_FAILURES = sql.SQL("""
with {staging}
insert into medtower.failures ({columns})
select {columns} from staging order by request_id, model, version
on conflict do nothing
""")
_INSERT_SHADOWS = sql.SQL("""
with {staging}
insert into medtower.shadows ({columns})
select {columns} from staging order by request_id, model, version
on conflict do nothing
""")
DAYS_AT_ONCE = 100  # a partition takes some milliseconds, and a statement has 30 s
_TABLES = {
    kind: Table(name, KINDS[kind].columns(), insert)
    for kind, name, insert in (
        ("prediction", "predictions", _INSERT_PREDICTIONS),
        ("outcome", "outcomes", _INSERT_OUTCOMES),
        ("failure", "failures", _INSERT_FAILURES),
        ("shadow", "shadows", _INSERT_SHADOWS),
    )
}
_LABELLED = sql.SQL("select {columns} from medtower.labelled(%s, %s, %s, %s, %s)")
_WINDOW = sql.SQL("""
select {columns} from medtower.answers
where model = %s and (%s::integer is null or version = %s) and event_time >= %s and event_time < %s
order by event_time, request_id
""")


class Window(TypedDict):
    """Columns of equal length n, in order of event time; `features` is [n, inputs] with NaN for missing."""

    request_id: list[str]
    version: list[int]
    subject: list[str]
    event_time: list[datetime]
    features: list[list[float]]
    prediction: list[float]


class Served(Window):
    """What a window of traffic looked like: `latency_ms` is Triton's share."""

    confidence: list[float]
    latency_ms: list[float]


class Labelled(Window):
    """`outcome` is NaN where none was known."""

    outcome: list[float]


class PredictionStore:
    """Writes as `medtower_gateway`, reads as `medtower_airflow` or `medtower_reader`. Errors as in `Database.transaction`; `keep` is for who writes
    again and again."""

    def __init__(self, dsn: str, *, keep: bool = False) -> None:
        self._database = Database(dsn, keep=keep)
        self._days: set[date] = set()

    def write(self, rows: Sequence[Recorded]) -> int:
        """Keep `rows`, those of one kind all or none. What is there already is left as it is: a prediction by its request id, an outcome by its
        arrival, a failure or a shadow by its request and version. Returns how many were new.

        Features are kept as float32, which is what the model saw.
        """
        new = 0
        for kind, made in KINDS.items():
            some = [row for row in rows if isinstance(row, made)]
            days = {row.event_time.astimezone(UTC).date() for row in some if isinstance(row, Prediction)}
            new += self.write_lines(kind, "\n".join(row.json() for row in some), days)
        return new

    def write_lines(self, kind: str, lines: str, days: Set[date] = frozenset()) -> int:
        """Keep rows of a kind of `domain.prediction.KINDS`, the JSON of one on each of `lines`; `days` (UTC) are those of predictions' events.
        What is there already is left as it is. All or nothing. Returns how many were new."""
        if not lines:
            return 0
        if kind == "prediction":
            self._ensure_days(days)
        with self._database.transaction() as cursor:
            return copy(cursor, _TABLES[kind], lines)

    def reused(self, predictions: Sequence[Prediction]) -> list[str]:
        """The request ids of `predictions` that are on record for another body: those that `write` left out for good."""
        sent = ([p.request_id for p in predictions], [p.body_sha256 for p in predictions])
        with self._database.transaction() as cursor:
            cursor.execute("select * from medtower.reused(%s::text[], %s::text[])", sent)
            return [request_id for (request_id,) in cursor.fetchall()]

    def labelled(
        self, model: str, version: int | None, start: datetime, end: datetime, as_of: datetime
    ) -> Labelled:
        """Predictions of [start, end) with the outcome that had arrived by `as_of`; every version when `version` is None."""
        columns = tuple(Labelled.__annotations__)
        with self._database.transaction() as cursor:
            cursor.execute(_LABELLED.format(columns=names(columns)), (model, version, start, end, as_of))
            found = _columns(columns, cursor.fetchall())
        found["outcome"] = [math.nan if value is None else value for value in found["outcome"]]
        return cast(Labelled, found)

    def window(self, model: str, version: int | None, start: datetime, end: datetime) -> Served:
        """What was answered in [start, end), with or without an outcome; every version when `version` is None."""
        columns = tuple(Served.__annotations__)
        with self._database.transaction() as cursor:
            cursor.execute(_WINDOW.format(columns=names(columns)), (model, version, version, start, end))
            return cast(Served, _columns(columns, cursor.fetchall()))

    def _ensure_days(self, days: Set[date]) -> None:
        missing = sorted(days - self._days)
        for start in range(0, len(missing), DAYS_AT_ONCE):
            some = missing[start : start + DAYS_AT_ONCE]
            with self._database.transaction() as cursor:
                cursor.execute("select medtower.ensure_partitions(d, d) from unnest(%s::date[]) d", (some,))
            self._days.update(some)


def _columns(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {name: [row[i] for row in rows] for i, name in enumerate(titles)}
    found["features"] = [
        [math.nan if v is None else v for v in row] for row in found["features"] if isinstance(row, list)
    ]
    return found
