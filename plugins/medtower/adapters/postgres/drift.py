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


# Hourly windows of a week share all but an hour of their patients, and so say the same thing again. Windows count when no two of them
# overlap: the newest, the newest of those that ended before it began, and so on, among those in which the feature could be tested.
_HISTORY = """
with recursive tested as not materialized (
    select feature, severity, window_start, window_end from medtower.drift
    where model = %(model)s and version = %(version)s and severity <> 'insufficient data'
), apart as (
    (
        select distinct on (feature) feature, severity, window_start, 1 as place from tested
        order by feature, window_end desc
    )
    union all
    select apart.feature, earlier.severity, earlier.window_start, apart.place + 1
    from apart, lateral (
        select severity, window_start from tested
        where tested.feature = apart.feature and tested.window_end <= apart.window_start
        order by window_end desc limit 1
    ) earlier
    where apart.place < %(windows)s
)
select feature, severity from apart order by feature, place
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
    """For each feature its severities in its last `windows` windows of this version, newest first, no two of which overlap.

    A window in which the feature had insufficient data is passed over; a feature that never had enough is not in the answer.
    """
    found: dict[str, list[Severity]] = {}
    with database.transaction() as cursor:
        cursor.execute(_HISTORY, {"model": model, "version": version, "windows": windows})
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
