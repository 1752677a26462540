"""Traces: what is in them, what is not, and that a collector can be as bad as it likes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.gateway.conftest import Gateway, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import running, wait_until

from medtower.errors import Refused
from medtower.gateway.observing import tracing
from medtower.gateway.observing.metrics import Metrics
from medtower.gateway.observing.observed import Observer, Seen
from medtower.gateway.observing.tracing import Tracing
from medtower.settings import Settings

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CANARY = "Zaphod-4711"


def traceparent(flags: str = "01", version: str = "00", more: str = "") -> list[tuple[bytes, bytes]]:
    return [(b"traceparent", f"{version}-{TRACE}-{SPAN}-{flags}{more}".encode())]


@contextmanager
def traced(ratio: float = 1.0) -> Iterator[tuple[Tracing, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    found = Tracing(exporter, ratio=ratio)
    yield found, exporter
    found.close()


def test_the_spans_of_a_request_are_its_phases_one_after_the_other() -> None:
    with traced() as (tracer, exporter):
        trace = tracer.begin([])
        assert trace
        for phase in ("validate", "route", "triton", "record"):
            trace.ended(phase)  # type: ignore[arg-type]
        tracer.end(trace, Seen("demo_risk", 3, request_id="case-1", arm="current"), 200)
        tracer.close()
        *phases, request = exporter.get_finished_spans()
    assert [span.name for span in phases] == ["validate", "route", "triton", "record"]
    assert [span.start_time for span in phases] == [
        request.start_time,
        *(span.end_time for span in phases[:-1]),
    ]
    assert all(span.parent and span.parent.span_id == request.context.span_id for span in phases)
    assert request.parent is None
    assert dict(request.attributes or {}) == {
        "medtower.model": "demo_risk", "medtower.version": 3, "medtower.arm": "current", "medtower.request_id": "case-1",
        "medtower.cached": False, "medtower.reason": "", "http.response.status_code": 200,
    }  # fmt: skip
    assert f"{request.context.trace_id:032x}" == trace.id


def test_a_failure_of_ours_is_an_error_and_one_of_the_caller_is_none() -> None:
    with traced() as (tracer, exporter):
        for code in (503, 422):
            trace = tracer.begin([])
            assert trace
            tracer.end(trace, Seen(reason="unavailable"), code)
        tracer.close()
        ours, theirs = exporter.get_finished_spans()
    assert (ours.status.status_code.name, ours.status.description) == ("ERROR", "unavailable")
    assert theirs.status.status_code.name == "UNSET"


def test_a_trace_that_somebody_began_goes_on() -> None:
    with traced(ratio=0) as (tracer, exporter):
        for headers in (traceparent(), traceparent("03"), traceparent(version="01", more="-more")):
            trace = tracer.begin(headers)
            assert trace
            assert trace.id == TRACE
            tracer.end(trace, Seen(), 200)
        tracer.close()
        for span in exporter.get_finished_spans():
            assert span.parent
            assert f"{span.parent.span_id:016x}" == SPAN


def test_a_trace_whose_beginner_does_not_want_it_is_not_made() -> None:
    with traced(ratio=1) as (tracer, _):
        assert tracer.begin(traceparent("00")) is None


@pytest.mark.parametrize(
    "value",
    [
        "", CANARY, f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01\n", f"00-{TRACE}-{SPAN}", "00-" + "a" * 100_000,
    ],
)  # fmt: skip
def test_a_traceparent_that_breaks_the_standard_is_as_good_as_none(value: str) -> None:
    with traced(ratio=0) as (tracer, _):
        assert tracer.begin([(b"traceparent", value.encode())]) is None
    with traced(ratio=1) as (tracer, _):
        trace = tracer.begin([(b"traceparent", value.encode())])
        assert trace
        assert trace.id != TRACE


def test_a_share_of_the_requests_is_traced() -> None:
    with traced(ratio=0.25) as (tracer, _):
        tracer._draw = iter([0.1, 0.24, 0.25, 0.9]).__next__
        assert [tracer.begin([]) is not None for _ in range(4)] == [True, True, False, False]


def test_without_a_collector_a_request_carries_no_trace() -> None:
    watching = Observer.of(Settings(), Metrics())
    assert watching.tracing is None
    assert watching.begin(traceparent()).trace is None


def test_the_rows_of_a_large_batch_do_not_make_a_span_each() -> None:
    with traced() as (tracer, exporter):
        trace = tracer.begin([])
        assert trace
        for _ in range(1000):
            trace.ended("triton")
        tracer.end(trace, Seen(), 200)
        tracer.close()
        assert len(exporter.get_finished_spans()) == 33


class Hanging(SpanExporter):
    """A collector that takes the first spans and never says so."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        self.asked.set()
        self.go_on.wait(30)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.go_on.set()


def test_a_collector_that_hangs_holds_up_nobody_and_costs_a_bounded_queue() -> None:
    hanging = Hanging()
    tracer = Tracing(hanging, ratio=1)
    try:
        for _ in range(3 * tracing.QUEUE):
            trace = tracer.begin([])
            assert trace
            tracer.end(trace, Seen(), 200)
        wait_until(hanging.asked.is_set)
        assert len(tracer._processor._batch_processor._queue) <= tracing.QUEUE
    finally:
        hanging.go_on.set()
        tracer.close()


@pytest.mark.parametrize(
    "url", ["http://192.0.2.7:4318", "http://collector.example.org", "ftp://127.0.0.1", "https://"]
)
def test_no_trace_leaves_the_machine_without_tls(url: str) -> None:
    with pytest.raises(Refused, match="MEDTOWER_OTLP_URL"):
        Observer.of(Settings(otlp_url=url), Metrics())


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.paths, self.bodies = status, set[str](), list[bytes]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (kind := (await receive())["type"]) != "lifespan.shutdown":
                await send({"type": f"{kind}.complete"})
            return await send({"type": "lifespan.shutdown.complete"})
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.paths.add(scope["path"])
        self.bodies.append(body)
        await send(
            {"type": "http.response.start", "status": self.status, "headers": [(b"content-length", b"0")]}
        )
        return await send({"type": "http.response.body", "body": b""})

    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            s
            for r in requests
            for group in r.resource_spans
            for scope in group.scope_spans
            for s in scope.spans
        ]


@contextmanager
def gateway_with(collector: str, settings: Settings, triton: FakeTriton) -> Iterator[Gateway]:
    with started(settings.model_copy(update={"otlp_url": collector, "trace_ratio": 1.0}), triton) as gateway:
        yield gateway


def test_the_collector_gets_ids_and_timings_and_nothing_that_was_asked(
    settings: Settings, triton: FakeTriton
) -> None:
    collector = Collector()
    with running(collector) as url:
        with gateway_with(url, settings, triton) as gateway:
            gateway.http.headers["traceparent"] = f"00-{TRACE}-{SPAN}-01"
            for name in ("tracestate", "baggage", "User-Agent"):
                gateway.http.headers[name] = f"patient={CANARY}"
            assert gateway.ask(request_id="case-1", subject_id=CANARY).status_code == 200
            assert gateway.ask(subject_id=CANARY, features={"age": CANARY}).status_code == 422
            assert gateway.http.post(f"/api/v1/ml/predict/{CANARY}?{CANARY}", json={}).status_code == 404
        spans = collector.spans()
    assert collector.paths == {"/v1/traces"}
    answered = [s for s in spans if any(a.value.string_value == "case-1" for a in s.attributes)]
    assert len(answered) == 1
    phases = [s.name for s in spans if s.parent_span_id == answered[0].span_id]
    assert phases == ["validate", "route", "validate", "triton", "record"]
    assert {s.trace_id.hex() for s in spans} == {TRACE}
    assert CANARY.encode() not in b"".join(collector.bodies)
    assert b"70.5" not in b"".join(collector.bodies)


@pytest.mark.parametrize("status", [400, 404])
def test_a_collector_that_refuses_costs_spans_and_no_answers(
    settings: Settings, triton: FakeTriton, status: int
) -> None:
    with running(Collector(status)) as url, gateway_with(url, settings, triton) as gateway:
        assert gateway.ask().status_code == 200
        observer = gateway.app.state.parts.observer
        observer.tracing._processor.force_flush()
        assert gateway.metric("medtower_spans_dropped_total") >= 5


def test_a_collector_that_is_not_there_costs_no_answers(settings: Settings, triton: FakeTriton) -> None:
    with running(Collector()) as url:
        pass
    with gateway_with(url, settings, triton) as gateway:
        for _ in range(20):
            assert gateway.ask().status_code == 200
