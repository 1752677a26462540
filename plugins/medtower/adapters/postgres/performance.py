"""What tracking and benchmarks found: estimates of each metric, by window, by population and as of a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from psycopg2.extras import execute_values

from medtower.adapters.postgres.database import Database
from medtower.domain.estimate import Estimate, Status

Kind = Literal["tracking", "benchmark"]

_INSERT = """
insert into medtower.performance
    (model, version, kind, window_start, window_end, as_of, metric, population, n, value, lower, upper, confidence, method, status, coverage)
values %s
"""
_DELETE_DAY = """
delete from medtower.performance
where model = %s and version = %s and kind = %s and as_of >= %s and as_of < %s
"""
_LATEST = """
select p.model, p.version, p.window_start, p.window_end, p.as_of, p.status, p.coverage,
       p.metric, p.population, p.n, p.value, p.lower, p.upper, p.confidence, p.method
from medtower.performance p
join (
    select model, case when %s then version end as version, max(as_of) as as_of from medtower.performance
    where kind = %s and (%s::text is null or model = %s)
    group by 1, 2
) newest on p.model = newest.model and p.as_of = newest.as_of and p.version = coalesce(newest.version, p.version)
where p.kind = %s
order by p.model, p.version, p.population, p.metric
"""


@dataclass(frozen=True)
class Tracked:
    """One estimate in its window [start, end).

    `coverage` is the labelled share, in [0, 1], of the predictions that should have had an outcome by `as_of`; None when there were none.
    """

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
    kind: Kind = "tracking",
) -> None:
    """Keep the estimates of one window; they take the place of that model's, version's and kind's estimates of the same UTC day of `as_of`.

    All or nothing. Two that save the same day at once wait for each other, and the later one's rows stay.
    """
    if not estimates:
        return
    key = (model, version, kind, window_start, window_end, as_of)
    day = as_of.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
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
        cursor.execute(
            "select pg_advisory_xact_lock(hashtext('medtower.performance'), hashtext(%s))", (model,)
        )
        cursor.execute(_DELETE_DAY, (model, version, kind, day, day + timedelta(days=1)))
        execute_values(cursor, _INSERT, rows)


def latest(
    database: Database, model: str | None = None, *, kind: Kind = "tracking", each_version: bool = False
) -> list[Tracked]:
    """The estimates of one kind with the newest `as_of` of `model`, or of each model; empty when there are none yet.

    With `each_version` those with the newest `as_of` of each version, ordered by version.
    """
    with database.transaction() as cursor:
        cursor.execute(_LATEST, (each_version, kind, model, model, kind))
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
