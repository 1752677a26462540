"""# Retrain

Woken by the asset `drift`, every Monday at 02:00, or by hand with the form: trains a new version of each model that needs one, on the
record of the last days, runs the gates against the champion and, when they pass, opens a proposal. People decide; nothing is promoted here.

What needs retraining is read from the database, not from the event: bursts of events coalesce. The same need makes one version, however
often this runs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, dag, task


@dag(
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("0 2 * * MON", timezone="UTC"),
        assets=[Asset(name="drift", uri="medtower://drift")],
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["training"],
    doc_md=__doc__,
    params={
        "model": Param(
            "",
            type="string",
            title="Model",
            description="Leave empty for every model that needs it",
            section="What",
        ),
        "window_days": Param(
            0,
            type="integer",
            minimum=0,
            maximum=3650,
            title="Days of record",
            description="0: as the contract says",
            section="Data",
        ),
        "reason": Param(
            "",
            type="string",
            maxLength=200,
            title="Reason",
            description="Stands in the release",
            section="What",
        ),
    },
)
def retrain() -> None:
    @task
    def needed(params: dict[str, object] | None = None) -> list[dict[str, object]]:
        from medtower.workflows.retrain import needed

        chosen = params or {}
        return needed(str(chosen["model"]), int(str(chosen["window_days"])), str(chosen["reason"]))

    @task(max_active_tis_per_dag=1, execution_timeout=timedelta(hours=6))
    def train_and_propose(need: dict[str, object]) -> dict[str, object]:
        from medtower.workflows.retrain import retrain

        return retrain(need)

    train_and_propose.expand(need=needed())


retrain()
