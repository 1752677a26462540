"""What the database knows about models, as Prometheus gauges: KPIs, drift, label coverage, and when each task last finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from medtower.adapters.postgres import drift, health, incidents, performance
from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.performance import Tracked
from medtower.errors import MedtowerError, NotFound, Unavailable
from medtower.serving import routing

log = logging.getLogger(__name__)
FRESH_SECONDS = 15
Serving = dict[str, set[int]]


class HealthCollector(Collector):
    """Collected at each scrape, read from `database` at most every 15 s. With Postgres down the series are absent, which alerts see.

    Only versions that the routing table at `routing_path` sends requests to have KPI and drift series: after a rollback the bad version's
    numbers are gone at once, and the last ones of the version that serves again stand. While there is no readable table the newest numbers
    of each model stand.
    """

    def __init__(self, database: Database, routing_path: Path) -> None:
        self._database, self._routing_path = database, routing_path
        self._kept: list[GaugeMetricFamily] = []
        self._read_at = float("-inf")

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing at registration: the names depend on no data, and the database may not be there yet."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            self._read_at = time.monotonic()
            try:
                self._kept = self._read()
            except MedtowerError as error:
                self._kept = []
                log.warning("no health metrics", extra={"reason": str(error)})
        yield from self._kept

    def _read(self) -> list[GaugeMetricFamily]:
        serving = self._serving()
        tracked = performance.latest(self._database, each_version=serving is not None)
        rows = [r for r in tracked if _serves(serving, r.model, r.version)]
        models = set(serving) if serving is not None else {r.model for r in tracked}
        return [
            *_performance(rows),
            self._drifted(models, serving),
            self._alarms(models, serving),
            self._rollbacks(),
            self._tasks(),
        ]

    def _serving(self) -> Serving | None:
        """The versions that requests go to, by model; None while that is not known."""
        try:
            table = routing.read(self._routing_path)
        except (NotFound, Unavailable):
            return None
        return {name: {a.version for a in route.arms} for name, route in table.routes.items() if route.arms}

    def _drifted(self, models: set[str], serving: Serving | None) -> GaugeMetricFamily:
        drifted = GaugeMetricFamily(
            "medtower_drifted_features", "Features that drift in the newest window", labels=["model"]
        )
        for model in sorted(models):
            report = drift.latest(self._database, model)
            if report and _serves(serving, model, report.version):
                drifted.add_metric([model], len(report.drifted))
        return drifted

    def _alarms(self, models: set[str], serving: Serving | None) -> GaugeMetricFamily:
        alarm = GaugeMetricFamily(
            "medtower_drift_alarm", "1 while a drift incident of the served version is open", labels=["model"]
        )
        drifting = {
            i.model
            for i in incidents.find(self._database, only_open=True)
            if i.kind == "drift" and (i.version is None or _serves(serving, i.model, i.version))
        }
        known = models if serving is not None else models | drifting
        for model in sorted(known):
            alarm.add_metric([model], model in drifting)
        return alarm

    def _rollbacks(self) -> GaugeMetricFamily:
        opened = GaugeMetricFamily(
            "medtower_rollback_open_timestamp_seconds",
            "When the oldest rollback that is not validated yet was seen",
            labels=["model"],
        )
        waiting = [i for i in incidents.find(self._database, only_open=True) if i.kind == "rollback"]
        # oldest first: the first of a model stands
        for incident in {i.model: i for i in reversed(waiting)}.values():
            opened.add_metric([incident.model], incident.opened_at.timestamp())
        return opened

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


def _serves(serving: Serving | None, model: str, version: int) -> bool:
    return serving is None or version in serving.get(model, ())


def _performance(rows: list[Tracked]) -> list[GaugeMetricFamily]:
    value = GaugeMetricFamily("medtower_kpi_value", "Newest estimate of a metric", labels=["model", "metric"])
    status = GaugeMetricFamily(
        "medtower_kpi_status", "0 ok, 1 warning, 2 critical, -1 insufficient data", labels=["model", "metric"]
    )
    coverage = GaugeMetricFamily(
        "medtower_label_coverage_ratio",
        "Share of the predictions due for an outcome that have one",
        labels=["model"],
    )
    # should two versions stand there, a series may still appear once only, and the newest version's counts
    for row in {(r.model, r.estimate.metric): r for r in rows if r.estimate.population == "all"}.values():
        labels = [row.model, row.estimate.metric]
        status.add_metric(labels, row.status.gauge)
        if row.estimate.value is not None:
            value.add_metric(labels, row.estimate.value)
    for model, share in {r.model: r.coverage for r in rows if r.coverage is not None}.items():
        coverage.add_metric([model], share)
    return [value, status, coverage]
