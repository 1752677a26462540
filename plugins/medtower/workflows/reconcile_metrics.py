"""What the reconciler exports to Prometheus: desired against served, failures by reason, and when it last agreed with git."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from medtower.workflows.reconcile_report import ReconcileReport


class ReconcileMetrics:
    """The reconciler's series in `registry`. 0 as a version means none."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._desired = Gauge(
            "medtower_desired_version", "Version that git wants", ["model"], registry=registry
        )
        self._served = Gauge(
            "medtower_served_version", "Version that is routed to", ["model"], registry=registry
        )
        self._failures = Counter(
            "medtower_reconcile_failures_total", "Models that a pass could not bring to their desired state", ["model", "reason"],
            registry=registry,
        )  # fmt: skip
        self._success = Gauge(
            "medtower_reconcile_last_success_timestamp_seconds",
            "When a pass last found every model as git says",
            registry=registry,
        )
        self._load = Gauge(
            "medtower_model_load_seconds",
            "Seconds Triton took to load",
            ["model", "version"],
            registry=registry,
        )

    def passed(self, report: ReconcileReport) -> None:
        """Take over the result of one pass."""
        self._desired.clear()
        self._served.clear()
        for outcome in report.outcomes:
            self._desired.labels(outcome.model).set(outcome.desired or 0)
            self._served.labels(outcome.model).set(outcome.served or 0)
            if outcome.failure:
                self._failures.labels(outcome.model, outcome.failure).inc()
        if report.ok:
            self._success.set(report.finished_at.timestamp())

    def broken(self, reason: str) -> None:
        """A pass could not even read what git says."""
        self._failures.labels("all", reason).inc()

    def loaded(self, model: str, version: int, seconds: float) -> None:
        self._load.labels(model, str(version)).set(seconds)
