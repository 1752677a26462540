"""# Rollback drill

Every quarter, or by hand: promotes an approved version of a throw-away model, sees it serve, takes it back and sees the one before serve again,
all by the real path. The seconds are written to the audit trail, and a drill that could not be held fails here.

The drill uses up one approved proposal of `rollback_drill` each time: `medtower drill --prepare` makes one, reviewers sign it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("0 9 5 1,4,7,10 *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=5)},
    tags=["serving"],
    doc_md=__doc__,
)
def rollback_drill() -> None:
    @task(execution_timeout=timedelta(minutes=15))
    def drill() -> dict[str, object]:
        from medtower.workflows.drill import drill

        return drill()

    drill()


rollback_drill()
