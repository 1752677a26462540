"""# Advance rollouts

Every hour, for every released model whose new version does not serve everybody yet: read both arms from the record, judge them with tests
that are valid at every look, and commit what the verdict says: one step of the approved plan, or the revert of the promotion. No traffic is
HOLD; no labels are told, and label-free tests decide alone.

Safe to run again: a step that was taken is not taken twice, and a stage holds for the hours that were approved.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("15 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["serving"],
    doc_md=__doc__,
)
def advance_rollout() -> None:
    @task
    def released_models() -> list[str]:
        from medtower.workflows.released import released_models

        return released_models()

    @task(execution_timeout=timedelta(minutes=30))
    def advance(model: str) -> dict[str, object]:
        from medtower.workflows.advance_rollout import advance

        return advance(model)

    advance.expand(model=released_models())


advance_rollout()
