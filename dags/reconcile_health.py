"""# Reconcile health

Every fifteen minutes: compare what git says should serve with what answers, mirror it to MLflow's alias `champion`, verify the audit trail,
and record the result. A difference opens an incident; the reconciler, not this DAG, mends it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["serving"],
    doc_md=__doc__,
)
def reconcile_health() -> None:
    @task
    def compare() -> dict[str, object]:
        from medtower.workflows.reconcile_health import reconcile_health

        return reconcile_health()

    compare()


reconcile_health()
