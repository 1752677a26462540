"""What the database knows about models, as Prometheus gauges: KPIs, drift, label coverage, and when each task last finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from medtower.adapters.postgres import drift, health, performance
from medtower.adapters.postgres.database import Database
from medtower.errors import MedtowerError

log = logging.getLogger(__name__)
FRESH_SECONDS = 15


class HealthCollector(Collector):
    """Collected at each scrape, read from `database` at most every 15 s. With Postgres down the series are absent, which alerts see."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: list[GaugeMetricFamily] = []
        self._read_at = float("-inf")

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing at registration: the names depend on no data, and the database may not be there yet."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            self._read_at = time.monotonic()
            try:
                self._kept = [*self._performance(), *self._drift(), self._tasks()]
            except MedtowerError as error:
                self._kept = []
                log.warning("no health metrics", extra={"reason": str(error)})
        yield from self._kept

    def _performance(self) -> list[GaugeMetricFamily]:
        value = GaugeMetricFamily(
            "medtower_kpi_value", "Newest estimate of a metric", labels=["model", "metric"]
        )
        status = GaugeMetricFamily(
            "medtower_kpi_status",
            "0 ok, 1 warning, 2 critical, -1 insufficient data",
            labels=["model", "metric"],
        )
        coverage = GaugeMetricFamily(
            "medtower_label_coverage_ratio", "Share of predictions with ground truth", labels=["model"]
        )
        rows = [r for r in performance.latest(self._database) if r.estimate.population == "all"]
        # on the day of a promotion two versions were judged; a series may appear once only, and the newest version's counts
        for row in {(r.model, r.estimate.metric): r for r in rows}.values():
            labels = [row.model, row.estimate.metric]
            status.add_metric(labels, row.status.gauge)
            if row.estimate.value is not None:
                value.add_metric(labels, row.estimate.value)
        for model, share in self._coverage().items():
            coverage.add_metric([model], share)
        return [value, status, coverage]

    def _coverage(self) -> dict[str, float]:
        return {r.model: r.coverage for r in performance.latest(self._database) if r.coverage is not None}

    def _drift(self) -> list[GaugeMetricFamily]:
        drifted = GaugeMetricFamily("medtower_drifted_features", "Features that drift", labels=["model"])
        for model in sorted({row.model for row in performance.latest(self._database)}):
            if report := drift.latest(self._database, model):
                drifted.add_metric([model], len(report.drifted))
        return [drifted]

    def _tasks(self) -> GaugeMetricFamily:
        finished = GaugeMetricFamily(
            "medtower_task_last_success_timestamp_seconds", "When a task last finished well", labels=["task"]
        )
        newest: dict[str, float] = {}
        for (task, _), at in health.last_success(self._database).items():
            newest[task] = max(newest.get(task, 0), at.timestamp())
        for task, at_seconds in newest.items():
            finished.add_metric([task], at_seconds)
        return finished
