"""Traces by OpenTelemetry, sent over OTLP/HTTP: where the time of a request went. Ids and timings only, never inputs and never a subject.

A request that is not traced carries None, and asking for that is all it pays. One that is notes the times of its phases; the spans are made of
them when its answer has left. A collector that is slow or away costs spans, never requests: the queue before it is bounded.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal, Protocol

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from medtower.gateway.links import guarded
from medtower.settings import Settings

Phase = Literal["validate", "route", "triton", "record"]
PHASES = 32
QUEUE, BATCH, EVERY_MS, EXPORT_SECONDS = 2048, 512, 2000, 5
# https://www.w3.org/TR/trace-context/#traceparent-header; of a later version only what this one defines is read
TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


class Watched(Protocol):
    """What a trace may tell of a request."""

    request_id: str
    model: str
    version: int
    arm: str
    reason: str
    cached: bool


@dataclass(slots=True)
class Trace:
    """One request that is traced: its span, and when each of its phases ended (Unix time in nanoseconds)."""

    span: Span
    start: int
    phases: list[tuple[Phase, int]] = field(default_factory=list)

    def ended(self, phase: Phase) -> None:
        """Note that `phase` is over; it began when the one before it ended. A phase may come again, as with a second arm; beyond 32 (the rows of a
        batch share a trace) nothing more is noted."""
        if len(self.phases) < PHASES:
            self.phases.append((phase, time.time_ns()))

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self.span.get_span_context().trace_id:032x}"


class Tracing:
    """Traces a `ratio` of the requests that come without a trace of their own; of those that have one, what its beginner decided is done
    (https://www.w3.org/TR/trace-context/). Nothing else of what a caller sent is passed on: tracestate and baggage may hold anything."""

    def __init__(self, exporter: SpanExporter, *, ratio: float, environment: str = "") -> None:
        self._ratio, self._draw = ratio, random.Random().random  # noqa: S311  # nosec B311 - a sample, no secret
        about = {
            "service.name": "medtower-gateway",
            "service.version": version("medtower"),
            "deployment.environment.name": environment,
        }
        self._processor = BatchSpanProcessor(exporter, QUEUE, EVERY_MS, BATCH)
        provider = TracerProvider(
            ALWAYS_ON,
            Resource(about),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_span_attributes=16, max_span_attribute_length=128),
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("medtower.gateway")

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
        """A trace for a request with these ASGI headers (names in lower case), None when it is not to be traced."""
        parent = next((_parent(value) for name, value in headers if name == b"traceparent"), None)
        if not (parent.trace_flags.sampled if parent else self._draw() < self._ratio):
            return None
        start = time.time_ns()
        above = set_span_in_context(NonRecordingSpan(parent)) if parent else None
        return Trace(self._tracer.start_span("request", above, SpanKind.SERVER, start_time=start), start)

    def end(self, trace: Trace, seen: Watched, code: int) -> None:
        """Make the spans of a request that ended with HTTP status `code`, and hand them to the exporter's thread."""
        above, before = set_span_in_context(trace.span), trace.start
        about: dict[str, Any] = {
            "medtower.model": seen.model,
            "medtower.version": seen.version,
            "medtower.arm": seen.arm,
        }
        for phase, moment in trace.phases:
            kind = SpanKind.CLIENT if phase == "triton" else SpanKind.INTERNAL
            self._tracer.start_span(phase, above, kind, start_time=before).end(moment)
            before = moment
        trace.span.set_attributes(
            about
            | {
                "medtower.request_id": seen.request_id,
                "medtower.cached": seen.cached,
                "medtower.reason": seen.reason,
                "http.response.status_code": code,
            }
        )
        if code >= 500:
            trace.span.set_status(StatusCode.ERROR, seen.reason)
        trace.span.end()

    def close(self) -> None:
        """Send what waits, for 5 s at most. Blocks."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def opened(settings: Settings, dropped: Callable[[int], None]) -> Tracing:
    """Tracing to the collector that is set. `dropped` counts the spans that it did not take. Raises Refused when it would be reached over the network
    without TLS."""
    url = guarded("MEDTOWER_OTLP_URL", settings.otlp_url, schemes=("http",), encrypted="https").rstrip("/")
    endpoint = url if url.endswith("/v1/traces") else f"{url}/v1/traces"
    return Tracing(
        _Counting(_exporter(endpoint), dropped), ratio=settings.trace_ratio, environment=settings.environment
    )


class _Counting(SpanExporter):
    """Counts what does not arrive."""

    def __init__(self, exporter: SpanExporter, dropped: Callable[[int], None]) -> None:
        self._exporter, self._dropped = exporter, dropped

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._dropped(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _exporter(endpoint: str) -> SpanExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    session = requests.Session()
    session.trust_env = False  # no proxy of the environment sees what goes on here
    return OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS, session=session)


def _parent(value: bytes) -> SpanContext | None:
    match = TRACEPARENT.fullmatch(value)
    if match is None or (match[4] and value.startswith(b"00")):
        return None
    return SpanContext(int(match[1], 16), int(match[2], 16), True, TraceFlags(int(match[3], 16)))
