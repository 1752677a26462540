"""What the reconciler exports to Prometheus: desired against served, failures by reason, and when it last agreed with git."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from medtower.workflows.reconcile.report import ReconcileReport


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

        self._stage = Gauge(
            "medtower_rollout_stage",
            "Stage of the released version's plan that is in force, counted from 0",
            ["model"],
            registry=registry,
        )
        self._weight = Gauge(
            "medtower_arm_weight",
            "Percent of the patients that a version is to answer; 0 for a shadow",
            ["model", "version", "arm"],
            registry=registry,
        )
        self._audit = Gauge(
            "medtower_audit_events_waiting",
            "Events of the reconciler that are not in the audit trail yet",
            registry=registry,
        )

    def passed(self, report: ReconcileReport, *, disputed: bool = False) -> None:
        """Take over the result of one pass."""
        for gauge in (self._desired, self._served, self._stage, self._weight):
            gauge.clear()
        for outcome in report.outcomes:
            if outcome.stage is not None:
                self._stage.labels(outcome.model).set(outcome.stage)
            for share in outcome.shares:
                self._weight.labels(outcome.model, str(share.version), share.arm).set(share.weight)
            self._desired.labels(outcome.model).set(outcome.desired or 0)
            self._served.labels(outcome.model).set(outcome.served or 0)
            if outcome.failure:
                self._failures.labels(outcome.model, outcome.failure).inc()
        if disputed:
            self.broken("trust_root")
        if report.ok:
            self._success.set(report.finished_at.timestamp())

    def broken(self, reason: str) -> None:
        """Something is wrong that is no one model's: git cannot be read, or the trust root is not the one that it holds."""
        self._failures.labels("all", reason).inc()

    def audit_waits(self, events: int) -> None:
        self._audit.set(events)

    def loaded(self, model: str, version: int, seconds: float) -> None:
        self._load.labels(model, str(version)).set(seconds)
