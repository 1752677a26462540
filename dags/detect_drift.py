"""# Detect drift

Every hour, for every released model: test each input and the prediction against what the model saw in training, with the false discovery
rate held and the effect size reported; keep the findings. Drift that persists updates the asset `drift`, which wakes `retrain`.

Safe to run again: a window's findings are written over by the same window's findings.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Asset, CronTriggerTimetable, dag, task
from airflow.sdk.exceptions import AirflowSkipException


@dag(
    schedule=CronTriggerTimetable("5 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["drift"],
    doc_md=__doc__,
)
def detect_drift() -> None:
    @task
    def released_models() -> list[str]:
        from medtower.workflows.released import released_models

        return released_models()

    @task
    def detect(model: str) -> dict[str, object]:
        from medtower.workflows.detect import detect

        return detect(model)

    @task(outlets=[Asset(name="drift", uri="medtower://drift")], trigger_rule="all_done")
    def announce(findings: list[dict[str, object]]) -> list[object]:
        alarmed = [f["model"] for f in findings if f["alarm"]]
        if not alarmed:
            raise AirflowSkipException("no model drifts")
        return alarmed

    announce(detect.expand(model=released_models()))


detect_drift()
