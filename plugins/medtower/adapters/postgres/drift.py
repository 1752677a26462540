"""Drift reports, and how each feature fared in the windows before."""

from __future__ import annotations

from psycopg2.extras import execute_values

from medtower.adapters.postgres.database import Cursor, Database
from medtower.domain.drift import DriftFinding, DriftReport, Severity

_FINDING = tuple(DriftFinding.model_fields)
_UPSERT = """
insert into medtower.drift
    (model, version, window_start, window_end, position,
     feature, test, statistic, p_value, q_value, effect, n_reference, n_current, severity)
values %s
on conflict (model, version, window_end, feature) do update set
    window_start = excluded.window_start, position = excluded.position, test = excluded.test, statistic = excluded.statistic,
    p_value = excluded.p_value, q_value = excluded.q_value, effect = excluded.effect, n_reference = excluded.n_reference,
    n_current = excluded.n_current, severity = excluded.severity
"""


# Hourly windows of a week share all but an hour: one a UTC day counts, the last in which the feature could be tested. A window ends just
# before `window_end`, so the one that ends at midnight belongs to the day before.
_HISTORY = """
with daily as (
    select distinct on (feature, day) feature, day, severity
    from medtower.drift, lateral (select ((window_end - interval '1 microsecond') at time zone 'UTC')::date as day) d
    where model = %s and version = %s and severity <> 'insufficient data'
    order by feature, day, window_end desc
), placed as (
    select feature, severity, row_number() over (partition by feature order by day desc) as place from daily
)
select feature, severity from placed where place <= %s order by feature, place
"""


def save(database: Database, report: DriftReport) -> None:
    """Keep `report`; one for the same model, version and window end is replaced, feature by feature."""
    if not report.findings:
        return
    key = (report.model, report.version, report.window_start, report.window_end)
    rows = [
        (*key, position, *finding.model_dump(mode="json").values())
        for position, finding in enumerate(report.findings)
    ]
    with database.transaction() as cursor:
        execute_values(cursor, _UPSERT, rows)


def latest(database: Database, model: str) -> DriftReport | None:
    """The report with the newest window end of `model`, its findings in the order they were given; None when there is none."""
    with database.transaction() as cursor:
        cursor.execute(
            "select version, window_start, window_end from medtower.drift where model = %s"
            " order by window_end desc, version desc limit 1",
            (model,),
        )
        head = cursor.fetchone()
        return None if head is None else _report(cursor, model, *head)


def history(database: Database, model: str, version: int, *, windows: int) -> dict[str, list[Severity]]:
    """For each feature its severities in its last `windows` windows of this version, newest first, at most one window a UTC day.

    A window in which the feature had insufficient data is passed over; a feature that never had enough is not in the answer.
    """
    found: dict[str, list[Severity]] = {}
    with database.transaction() as cursor:
        cursor.execute(_HISTORY, (model, version, windows))
        for feature, severity in cursor.fetchall():
            found.setdefault(feature, []).append(Severity(severity))
    return found


def _report(
    cursor: Cursor, model: str, version: int, window_start: object, window_end: object
) -> DriftReport:
    cursor.execute(
        "select feature, test, statistic, p_value, q_value, effect, n_reference, n_current, severity from medtower.drift"
        " where model = %s and version = %s and window_end = %s order by position",
        (model, version, window_end),
    )
    findings = [
        DriftFinding.model_validate(dict(zip(_FINDING, row, strict=True))) for row in cursor.fetchall()
    ]
    return DriftReport.model_validate(
        {
            "model": model,
            "version": version,
            "window_start": window_start,
            "window_end": window_end,
            "findings": findings,
        }
    )
