"""Predictions and the ground truth that comes later."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import TypedDict, cast

from psycopg2 import sql

from medtower.adapters.postgres.database import Cursor, Database
from medtower.domain.prediction import Outcome, Prediction

_PREDICTION = tuple(Prediction.model_fields)
_OUTCOME = tuple(Outcome.model_fields)

# Sorted by request_id, so that two shippers with the same rows wait for each other instead of deadlocking.
_INSERT_PREDICTIONS = sql.SQL("""
with fresh as (
    insert into medtower.requests (request_id, event_time)
    select distinct on (request_id) request_id, event_time from pg_temp.staging order by request_id, event_time
    on conflict do nothing
    returning request_id, event_time
)
insert into medtower.predictions ({columns})
select {columns} from pg_temp.staging join fresh using (request_id, event_time)
on conflict do nothing
""")
_INSERT_OUTCOMES = sql.SQL("""
insert into medtower.outcomes ({columns})
select {columns} from pg_temp.staging order by request_id
on conflict do nothing
""")
_LABELLED = sql.SQL("select {columns} from medtower.labelled(%s, %s, %s, %s, %s)")
_WINDOW = sql.SQL("""
select {columns} from medtower.predictions
where model = %s and (%s::integer is null or version = %s) and event_time >= %s and event_time < %s
order by event_time, request_id
""")
_STAGING = sql.SQL(
    "create temporary table staging on commit drop as select {columns} from {table} with no data"
)
_COPY = sql.SQL("copy pg_temp.staging ({columns}) from stdin with (format csv)")


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
    """Writes as `medtower_gateway`, reads as `medtower_airflow` or `medtower_reader`. Errors as in `Database.transaction`."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn)
        self._days: set[date] = set()

    def write(self, predictions: Sequence[Prediction]) -> int:
        """Keep `predictions`; a request id that is there already is left as it is. Returns how many were new.

        All or nothing. Features are kept as float32, which is what the model saw.
        """
        if not predictions:
            return 0
        self._ensure_days({p.event_time.astimezone(UTC).date() for p in predictions})
        with self._database.transaction() as cursor:
            rows = ([_text(getattr(p, c)) for c in _PREDICTION] for p in predictions)
            return _copy(cursor, "predictions", _PREDICTION, rows, _INSERT_PREDICTIONS)

    def write_outcomes(self, outcomes: Sequence[Outcome]) -> int:
        """Append `outcomes`; the same arrival delivered twice is kept once. Returns how many were new."""
        if not outcomes:
            return 0
        with self._database.transaction() as cursor:
            rows = ([_text(getattr(o, c)) for c in _OUTCOME] for o in outcomes)
            return _copy(cursor, "outcomes", _OUTCOME, rows, _INSERT_OUTCOMES)

    def labelled(
        self, model: str, version: int | None, start: datetime, end: datetime, as_of: datetime
    ) -> Labelled:
        """Predictions of [start, end) with the outcome that had arrived by `as_of`; every version when `version` is None."""
        columns = tuple(Labelled.__annotations__)
        with self._database.transaction() as cursor:
            cursor.execute(_LABELLED.format(columns=_names(columns)), (model, version, start, end, as_of))
            found = _columns(columns, cursor.fetchall())
        found["outcome"] = [math.nan if value is None else value for value in found["outcome"]]
        return cast(Labelled, found)

    def window(self, model: str, version: int | None, start: datetime, end: datetime) -> Served:
        """What was answered in [start, end), with or without an outcome; every version when `version` is None."""
        columns = tuple(Served.__annotations__)
        with self._database.transaction() as cursor:
            cursor.execute(_WINDOW.format(columns=_names(columns)), (model, version, version, start, end))
            return cast(Served, _columns(columns, cursor.fetchall()))

    def _ensure_days(self, days: set[date]) -> None:
        missing = sorted(days - self._days)
        if not missing:
            return
        with self._database.transaction() as cursor:
            cursor.execute("select medtower.ensure_partitions(d, d) from unnest(%s::date[]) d", (missing,))
        self._days.update(missing)


def _copy(
    cursor: Cursor, table: str, columns: Sequence[str], rows: Iterable[list[str]], insert: sql.SQL
) -> int:
    names = _names(columns)
    cursor.execute(_STAGING.format(columns=names, table=sql.Identifier("medtower", table)))
    body = io.StringIO()
    csv.writer(body, quoting=csv.QUOTE_ALL).writerows(rows)
    body.seek(0)
    cursor.copy_expert(_COPY.format(columns=names), body)
    cursor.execute(insert.format(columns=names))
    return cursor.rowcount


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _text(value: object) -> str:
    """A value as COPY reads it. No column is ever null; a missing feature is a null inside the array."""
    if isinstance(value, list):
        return "{" + ",".join("NULL" if v is None else repr(v) for v in value) + "}"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _columns(names: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    found["features"] = [
        [math.nan if v is None else v for v in row] for row in found["features"] if isinstance(row, list)
    ]
    return found
