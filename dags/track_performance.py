"""# Track performance

Every day, for every released model: compare what was predicted with the ground truth that has arrived, metric by metric with n and
interval; judge it against the contract's KPIs; open an incident where a KPI is critical; write the report.

Safe to run again: a day's numbers are written over by the same day's numbers.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("30 1 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["performance"],
    doc_md=__doc__,
)
def track_performance() -> None:
    @task
    def released_models() -> list[str]:
        from medtower.workflows.released import released_models

        return released_models()

    @task
    def track(model: str) -> dict[str, object]:
        from medtower.workflows.track import track

        return track(model)

    track.expand(model=released_models())


track_performance()
