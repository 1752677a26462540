"""The gateway's Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from medtower.domain.routing import Arm

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0, 5.0)
UNKNOWN = "unknown"


class Metrics:
    """Labels are names of contracts, versions and status codes only: nothing a caller wrote becomes a label."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        labels = ("model", "version")
        self.requests = Counter(
            "medtower_requests", "Prediction requests", (*labels, "code"), registry=registry
        )
        self.seconds = Histogram(
            "medtower_request_seconds",
            "Time a prediction request took",
            labels,
            buckets=BUCKETS,
            registry=registry,
        )
        self.predictions = Counter(
            "medtower_predictions", "Predictions answered and durable", labels, registry=registry
        )
        self.human_review = Counter(
            "medtower_human_review", "Predictions that ask for human review", labels, registry=registry
        )
        self.spool_depth = Gauge(
            "medtower_spool_depth", "Rows the database does not have yet", registry=registry
        )
        self.spool_oldest = Gauge(
            "medtower_spool_oldest_seconds", "How long the oldest of them has waited", registry=registry
        )
        self.spool_writable = Gauge(
            "medtower_spool_writable", "1 when the last write reached the disk", registry=registry
        )
        self.shipped = Counter("medtower_shipped", "Rows moved to the database", registry=registry)
        self.rejected = Counter(
            "medtower_rejected", "Rows that the database refuses for good, set aside", registry=registry
        )
        self.duplicates = Counter(
            "medtower_duplicate_requests",
            "Answers whose request id is on record for another body",
            registry=registry,
        )
        self._arm_requests = Counter(
            "medtower_arm_requests",
            "Requests that came to an arm (outcome: answered, failed)",
            (*labels, "arm", "outcome"),
            registry=registry,
        )
        self._shadow = Counter(
            "medtower_shadow",
            "Copies for a version in the shadow (result: agree, disagree, failed, shed)",
            (*labels, "result"),
            registry=registry,
        )
        self._breaker_open = Gauge(
            "medtower_breaker_open",
            "1 when the incumbent takes this candidate's patients",
            labels,
            registry=registry,
        )
        self.routing_age = Gauge(
            "medtower_routing_age_seconds", "Since the reconciler confirmed routing", registry=registry
        )
        self.triton_up = Gauge("medtower_triton_up", "1 when Triton says it is ready", registry=registry)

    def served(self, model: str, version: int, code: int, seconds: float) -> None:
        """Count one prediction request that ended with HTTP status `code`. Version 0: it never came to a version."""
        self.requests.labels(model, str(version), str(code)).inc()
        self.seconds.labels(model, str(version)).observe(seconds)

    def answered(self, model: str, version: int, review: bool) -> None:
        """Count one prediction that is on record and leaves."""
        self.predictions.labels(model, str(version)).inc()
        if review:
            self.human_review.labels(model, str(version)).inc()

    def asked(self, model: str, version: int, arm: str, outcome: str) -> None:
        """Count one attempt of an arm."""
        self._arm_requests.labels(model, str(version), arm, outcome).inc()

    def shadowed(self, model: str, version: int, result: str) -> None:
        """Count one copy for a version in the shadow."""
        self._shadow.labels(model, str(version), result).inc()

    def breakers(self, candidates: Iterable[tuple[str, Arm]], is_open: Callable[[str, Arm], bool]) -> None:
        """Show the breakers of the rollouts that are under way, and of no other."""
        self._breaker_open.clear()
        for model, arm in candidates:
            self._breaker_open.labels(model, str(arm.version)).set(is_open(model, arm))

    def text(self) -> bytes:
        """The exposition format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
        return generate_latest(self.registry)
