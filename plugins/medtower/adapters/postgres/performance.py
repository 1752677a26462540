"""What tracking found: estimates of each KPI, by window, by population and as of a date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extras import execute_values

from medtower.adapters.postgres.database import Database
from medtower.domain.estimate import Estimate, Status

_UPSERT = """
insert into medtower.performance
    (model, version, window_start, window_end, as_of, metric, population, n, value, lower, upper, confidence, method, status, coverage)
values %s
on conflict (model, version, window_start, window_end, as_of, metric, population) do update set
    n = excluded.n, value = excluded.value, lower = excluded.lower, upper = excluded.upper, confidence = excluded.confidence,
    method = excluded.method, status = excluded.status, coverage = excluded.coverage, computed_at = now()
"""
_LATEST = """
select model, version, window_start, window_end, as_of, status, coverage,
       metric, population, n, value, lower, upper, confidence, method
from medtower.performance p
where (%s::text is null or model = %s)
  and as_of = (select max(as_of) from medtower.performance newest where newest.model = p.model)
order by model, version, window_end, population, metric
"""


@dataclass(frozen=True)
class Tracked:
    """One estimate in its window. `coverage` is the labelled share of the window's predictions, in [0, 1]."""

    model: str
    version: int
    window_start: datetime
    window_end: datetime
    as_of: datetime
    estimate: Estimate
    status: Status
    coverage: float | None


def save(
    database: Database,
    *,
    model: str,
    version: int,
    window_start: datetime,
    window_end: datetime,
    as_of: datetime,
    estimates: Sequence[tuple[Estimate, Status]],
    coverage: float | None,
) -> None:
    """Keep the estimates of one window as of one date; computing them again replaces them."""
    if not estimates:
        return
    key = (model, version, window_start, window_end, as_of)
    rows = [
        (
            *key,
            e.metric,
            e.population,
            e.n,
            e.value,
            e.lower,
            e.upper,
            e.confidence,
            e.method,
            s.value,
            coverage,
        )
        for e, s in estimates
    ]
    with database.transaction() as cursor:
        execute_values(cursor, _UPSERT, rows)


def latest(database: Database, model: str | None = None) -> list[Tracked]:
    """The estimates with the newest `as_of` of `model`, or of each model; empty when none was tracked yet."""
    with database.transaction() as cursor:
        cursor.execute(_LATEST, (model, model))
        return [_tracked(*row) for row in cursor.fetchall()]


def _tracked(
    model: str,
    version: int,
    start: datetime,
    end: datetime,
    as_of: datetime,
    status: str,
    coverage: float | None,
    *estimate: object,
) -> Tracked:
    found = Estimate.model_validate(dict(zip(Estimate.model_fields, estimate, strict=True)))
    return Tracked(model, version, start, end, as_of, found, Status(status), coverage)
