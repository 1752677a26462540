"""The families of metrics that the gateway exports: names, labels and buckets. monitoring/ reads them by these names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0, 5.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
GROUP = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
VERSION = ("model", "version")


class Families:
    """Every family, in one registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests()
        self._arms()
        self._batches()
        self._cache()
        self._record()
        self._escalated()
        self._parts()

    def _requests(self) -> None:
        self.requests = self._counter("medtower_requests", "Prediction requests", *VERSION, "code")
        self.seconds = Histogram(
            "medtower_request_seconds",
            "Time a prediction request took",
            (*VERSION, "arm"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.errors = self._counter(
            "medtower_errors", "Prediction requests without an answer", "model", "reason"
        )
        self.rate_limited = self._counter("medtower_rate_limited", "Requests beyond their caller's rate")
        self.in_flight = self._gauge("medtower_requests_in_flight", "Prediction requests on their way")

    def _arms(self) -> None:
        self.predictions = self._counter("medtower_predictions", "Predictions answered and durable", *VERSION)
        self.human_review = self._counter(
            "medtower_human_review", "Predictions that ask for human review", *VERSION
        )
        self.arm_requests = self._counter(
            "medtower_arm_requests",
            "Requests that came to an arm (outcome: answered, failed)",
            *VERSION,
            "arm",
            "outcome",
        )
        self.shadow = self._counter(
            "medtower_shadow",
            "Copies for a version in the shadow (result: agree, disagree, failed, shed)",
            *VERSION,
            "result",
        )
        self.breaker_open = self._gauge(
            "medtower_breaker_open", "1 when the incumbent takes this candidate's patients", *VERSION
        )
        self.circuit_open = self._gauge(
            "medtower_circuit_open",
            "1 while Triton does not answer for it: callers are told at once",
            *VERSION,
        )
        self.composition_withheld = self._gauge(
            "medtower_composition_withheld", "1 when its composition does not fit what is released", *VERSION
        )

    def _batches(self) -> None:
        self.queue_depth = self._gauge("medtower_queue_depth", "Requests that wait to leave for Triton")
        self.batch_rows = Histogram(
            "medtower_batch_rows", "Rows that left for Triton together", buckets=ROWS, registry=self.registry
        )

    def _cache(self) -> None:
        self.cache_lookups = self._counter(
            "medtower_cache_lookups", "Rows looked up (result: hit, miss)", "model", "result"
        )
        self.cache_errors = self._counter(
            "medtower_cache_errors",
            "Times Redis did not do its part (reason: timeout, connection, refused, forged, shed)",
            "reason",
        )
        for reason in ("timeout", "connection", "refused", "forged", "shed"):
            self.cache_errors.labels(
                reason
            )  # a series that begins with 1 has not increased, as Prometheus sees it

    def _record(self) -> None:
        self.spool_depth = self._gauge("medtower_spool_depth", "Rows the database does not have yet")
        self.spool_oldest = self._gauge(
            "medtower_spool_oldest_seconds", "How long the oldest of them has waited"
        )
        self.spool_writable = self._gauge("medtower_spool_writable", "1 when the last write reached the disk")
        self.commit_group = Histogram(
            "medtower_commit_group_size",
            "Writes that were committed to the spool together",
            buckets=GROUP,
            registry=self.registry,
        )
        self.shipped = self._counter("medtower_shipped", "Rows moved to the database")
        self.rejected = self._counter(
            "medtower_rejected", "Rows that the database refuses for good, set aside"
        )
        self.duplicates = self._counter(
            "medtower_duplicate_requests", "Answers whose request id is on record for another body"
        )

    def _escalated(self) -> None:
        self.escalations = self._counter(
            "medtower_escalations",
            "Attempts to tell a webhook of an emergency (result: delivered, refused, unreachable, unconfigured)",
            "model",
            "result",
        )
        self.escalations_pending = self._gauge(
            "medtower_escalations_pending", "Emergencies that no webhook has taken yet"
        )
        self.escalations_oldest = self._gauge(
            "medtower_escalations_oldest_seconds", "How long the oldest of them has waited"
        )

    def _parts(self) -> None:
        self.routing_age = self._gauge(
            "medtower_routing_age_seconds", "Since the reconciler confirmed routing"
        )
        self.triton_up = self._gauge("medtower_triton_up", "1 when Triton says it is ready")
        self.dropped = self._counter("medtower_spans_dropped", "Spans of traces that no collector took")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)
