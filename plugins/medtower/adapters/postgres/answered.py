"""What was answered, as the gateway may show it again: no features, no texts, no outcome's value (the grants of migration 0005 hold it to that).

`medtower.answers` are the predictions, each case once: what a composition's own weights said is left out. They have a partition a day of `event_time`.
The days of the requests in question are found in `medtower.requests` first, and stand in the statement, so that Postgres plans for these partitions
and locks no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from psycopg2 import sql

from medtower.adapters.postgres.database import Cursor, Database
from medtower.statistics.quantile import interval_ranks

QUANTILES = (0.5, 0.95, 0.99)
_PAGE = sql.SQL("""
select request_id, event_time from medtower.requests where {models} and {before} and not medtower.is_own_part(request_id)
order by received_at desc, request_id desc limit {limit}
""")
_SHOWN = sql.SQL("""
select {columns} from medtower.answers where event_time = any({times}) and request_id = any({ids})
order by received_at desc, request_id desc
""")
_DAYS = sql.SQL("""
select distinct (event_time at time zone 'UTC')::date from medtower.requests
where {models} and received_at >= {since} and received_at < {until} order by 1
""")
_COUNTS = sql.SQL("""
select model, version, arm, 200, count(*) from medtower.answers
where {models} and {days} and received_at >= {since} and received_at < {until} group by 1, 2, 3
union all
select model, version, arm, code, count(*) from medtower.failures
where {models} and received_at >= {since} and received_at < {until} group by 1, 2, 3, 4
order by 1, 2, 3, 4
""")
_VERSIONS = sql.SQL("""
select p.version, count(*), count(*) filter (where p.requires_human_review), count(*) filter (where p.cached),
    count(*) filter (where p.event_time <= {due}), count(*) filter (where p.event_time <= {due} and o.there)
from medtower.answers p
cross join lateral (
    select exists (select from medtower.outcomes where outcomes.request_id = p.request_id and outcomes.model = p.model) as there
) o
where {models} and {days} and p.received_at >= {since} and p.received_at < {until} group by 1
""")
_LATENCY = sql.SQL("""
select percentile_cont({q}) within group (order by latency_ms), percentile_disc({ranks}) within group (order by latency_ms)
from medtower.answers
where {models} and version = {version} and not cached and {days} and received_at >= {since} and received_at < {until}
""")


@dataclass(frozen=True)
class Shown:
    """One prediction that was answered. `subject` is the pseudonym; `recorded_at` is when Postgres got it."""

    request_id: str
    model: str
    version: int
    digest: str
    arm: str
    subject: str
    event_time: datetime
    received_at: datetime
    recorded_at: datetime
    prediction: float
    confidence: float
    requires_human_review: bool
    cached: bool
    caller: str
    part_of: str


@dataclass(frozen=True)
class Count:
    """How many requests came to an arm and ended with `code`: 200 was answered, anything else is what the arm failed with."""

    model: str
    version: int
    arm: str
    code: int
    n: int


@dataclass(frozen=True)
class Quantile:
    """A quantile of the milliseconds that the model took, over `n` answers; the three numbers are None where n is too small for the interval."""

    q: float
    n: int
    value: float | None
    lower: float | None
    upper: float | None


@dataclass
class Live:
    """What came to one version in a window: answered, of these for review and from the cache, failures by code; of the `due` answers, whose outcome should
    have come, how many have one."""

    version: int
    answered: int = 0
    for_review: int = 0
    cached: int = 0
    due: int = 0
    labelled: int = 0
    failures: dict[int, int] = field(default_factory=dict)
    latency: list[Quantile] = field(default_factory=list)


Models = Sequence[str] | None


def page(
    database: Database, models: Models, *, before: tuple[datetime, str] | None, limit: int
) -> list[Shown]:
    """The newest `limit` predictions of `models` (all when None) that came in before the request `before` (received_at, request_id)."""
    columns = sql.SQL(", ").join(map(sql.Identifier, Shown.__dataclass_fields__))
    earlier: sql.Composable = sql.SQL("true")
    if before:
        earlier = sql.SQL("(received_at, request_id) < ({}, {})").format(*map(sql.Literal, before))
    statement = _PAGE.format(models=_of(models), before=earlier, limit=sql.Literal(limit))
    with database.transaction() as cursor:
        cursor.execute(statement)
        if not (keys := cursor.fetchall()):
            return []
        ids, times = [key[0] for key in keys], sorted({key[1] for key in keys})
        cursor.execute(
            _SHOWN.format(columns=columns, times=sql.Literal(times), ids=sql.Literal(ids)),
        )
        return [Shown(*row) for row in cursor.fetchall()]


def counts(database: Database, models: Models, since: datetime, until: datetime) -> list[Count]:
    """The requests that came in in [since, until), by model, version, arm and code."""
    with database.transaction() as cursor:
        cursor.execute(_COUNTS.format(**_window(cursor, models, since, until)))
        return [Count(*row) for row in cursor.fetchall()]


def live(database: Database, model: str, since: datetime, until: datetime, due: datetime) -> list[Live]:
    """What came to each version of `model` in [since, until), by version. An outcome is due for cases of `due` and before."""
    found: dict[int, Live] = {}
    with database.transaction() as cursor:
        window = _window(cursor, [model], since, until)
        cursor.execute(_VERSIONS.format(due=sql.Literal(due), **window))
        for version, *numbers in cursor.fetchall():
            found[version] = Live(version, *numbers)
        cursor.execute(_COUNTS.format(**window))
        for _, version, _, code, n in cursor.fetchall():
            if code != 200:
                failures = found.setdefault(version, Live(version)).failures
                failures[code] = failures.get(code, 0) + n
        for each in found.values():
            each.latency = _latency(cursor, each, window)
    return [found[version] for version in sorted(found)]


def _latency(cursor: Cursor, live: Live, window: dict[str, sql.Composable]) -> list[Quantile]:
    """By rank in the database: the values stay there."""
    n = live.answered - live.cached
    ranks = [interval_ranks(n, q) or (1, 1) for q in QUANTILES]
    if n == 0:
        return [Quantile(q, 0, None, None, None) for q in QUANTILES]
    # the value of rank r is the first whose share of values up to it is r/n; half a rank less is safe from rounding
    shares = [(rank - 0.5) / n for pair in ranks for rank in pair]
    cursor.execute(
        _LATENCY.format(
            q=sql.Literal(list(QUANTILES)),
            ranks=sql.Literal(shares),
            version=sql.Literal(live.version),
            **window,
        )
    )
    ((values, bounds),) = cursor.fetchall()
    return [
        Quantile(q, n, values[i], bounds[2 * i], bounds[2 * i + 1])
        if interval_ranks(n, q)
        else Quantile(q, n, None, None, None)
        for i, q in enumerate(QUANTILES)
    ]


def _window(cursor: Cursor, models: Models, since: datetime, until: datetime) -> dict[str, sql.Composable]:
    """What every statement about a window of requests is made with; looks up the days of their cases."""
    window: dict[str, sql.Composable] = {
        "models": _of(models),
        "since": sql.Literal(since),
        "until": sql.Literal(until),
    }
    cursor.execute(_DAYS.format(**window))
    return window | {"days": _on([day for (day,) in cursor.fetchall()])}


def _of(models: Models) -> sql.Composable:
    if models is None:
        return sql.SQL("true")
    if len(models) == 1:  # an equality keeps the order of the index
        return sql.SQL("model = {}").format(sql.Literal(models[0]))
    return sql.SQL("model = any({}::text[])").format(sql.Literal(list(models)))


def _on(days: Sequence[date]) -> sql.Composable:
    """A condition on `event_time` that the planner can hold against the bounds of the partitions: days in a row become one range."""
    ranges: list[tuple[date, date]] = []
    for day in days:
        if ranges and ranges[-1][1] == day:
            ranges[-1] = (ranges[-1][0], day + timedelta(days=1))
        else:
            ranges.append((day, day + timedelta(days=1)))
    if not ranges:
        return sql.SQL("false")
    each = sql.SQL("event_time >= {} and event_time < {}")
    spans = [
        each.format(*(sql.Literal(datetime(d.year, d.month, d.day, tzinfo=UTC)) for d in span))
        for span in ranges
    ]
    return sql.SQL("({})").format(sql.SQL(" or ").join(spans))
