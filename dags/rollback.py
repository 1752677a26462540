"""# Roll back

By hand, with the form: takes the released version of one model back. It makes the same one commit that `git revert` of the promotion makes,
then writes the incident, validates what serves now and writes the report. No approval is needed to go back.

Safe to run again: a retry that finds the version gone already takes nothing else back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag, task


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["serving"],
    doc_md=__doc__,
    params={
        "model": Param(
            "", type="string", minLength=1, title="Model", description="The model whose version is bad"
        ),
        "version": Param(
            0,
            type="integer",
            minimum=1,
            title="Version",
            description="The version to take back, which is released now",
        ),
        "reason": Param(
            "",
            type="string",
            minLength=3,
            maxLength=200,
            title="Reason",
            description="Stands in the commit and the incident",
        ),
    },
)
def rollback() -> None:
    @task
    def take_back(params: dict[str, object] | None = None) -> str:
        from medtower.workflows.rollback_request import take_back_once

        chosen = params or {}
        return take_back_once(str(chosen["model"]), int(str(chosen["version"])), str(chosen["reason"]))

    take_back()


rollback()
