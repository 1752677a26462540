"""# Benchmark

Every quarter, for every released model: measure Triton's latency, throughput and load time on generated rows against the contract's service
levels, with the number of requests behind each figure, and keep the verdict.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import CronTriggerTimetable, dag, task


@dag(
    schedule=CronTriggerTimetable("0 3 1 */3 *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["benchmark"],
    doc_md=__doc__,
)
def benchmark() -> None:
    @task
    def released_models() -> list[str]:
        from medtower.workflows.released import released_models

        return released_models()

    # one at a time: two measurements side by side measure each other
    @task(max_active_tis_per_dag=1)
    def measure(model: str) -> dict[str, object]:
        from medtower.workflows.benchmark import benchmark

        return benchmark(model)

    measure.expand(model=released_models())


benchmark()
