"""What is counted, logged and traced of every request: ids, status and seconds, never what was in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medtower import log as logs
from medtower.gateway.access.headers import secure
from medtower.gateway.observing import reasons
from medtower.gateway.observing.metrics import NO_ARM, UNKNOWN, Metrics
from medtower.settings import Settings

if TYPE_CHECKING:  # the libraries of OpenTelemetry are loaded where there is a collector
    from medtower.gateway.observing.tracing import Trace, Tracing

log = logging.getLogger(__name__)
COUNTED, COUNTED_V2 = "/api/v1/ml/predict", "/infer"
Headers = Iterable[tuple[bytes, bytes]]


class Seen(msgspec.Struct):
    """What is known of a request so far. `model` is the name of a contract, never what the caller wrote; version 0 is none; `caller` is the id
    of a key or a pseudonym; `reason` is one of `reasons.REASONS`, empty when the status says it all; `trace` is None for a request that is not traced."""

    model: str = UNKNOWN
    version: int = 0
    caller: str = ""
    arm: str = NO_ARM
    request_id: str = ""
    reason: str = ""
    cached: bool = False
    trace: Trace | None = None

    @property
    def trace_id(self) -> str:
        return self.trace.id if self.trace else ""


class Observer:
    """Everything that watches requests, however they come in: `begin` each, and `end` it with its HTTP status.

    The log has every request that got no answer for a reason of ours or its caller's (a rate limit apart: who asks too much would fill the log as well),
    every one slower than `slow` seconds, and up to `successes` others a second; the first line after some were left out says how many.
    """

    def __init__(
        self,
        metrics: Metrics,
        tracing: Tracing | None = None,
        *,
        slow: float = 0.5,
        successes: int = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics, self.tracing = metrics, tracing
        self._slow, self._successes, self._clock = slow, successes, clock
        self._second, self._logged, self._skipped = 0, 0, 0
        self._on_their_way = 0
        metrics.in_flight.set_function(lambda: self._on_their_way)

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Observer:
        """The observer as it is set. Raises Refused when the collector would be reached over the network without TLS."""
        tracing = None
        if settings.otlp_url:
            from medtower.gateway.observing.tracing import opened

            tracing = opened(settings, metrics.spans_dropped)
        return cls(metrics, tracing, slow=settings.log_slow_ms / 1000, successes=settings.log_successes)

    def begin(self, headers: Headers) -> Seen:
        """A request has come in, with these headers (names in lower case). Log lines that are written in its course say to which it belongs."""
        self._on_their_way += 1  # before anything can fail: `end` comes also then
        seen = Seen()
        if self.tracing:
            seen.trace = self.tracing.begin(headers)
        logs.answering.set(seen)
        return seen

    def end(self, seen: Seen, code: int, seconds: float) -> None:
        """It has ended."""
        self._on_their_way -= 1
        self.metrics.served(seen.model, seen.version, code, seconds, seen.arm)
        if code >= 400:
            self._failed(seen, code, seconds)
        elif seconds >= self._slow:
            self._log(logging.WARNING, "slow prediction request", seen, code, seconds)
        elif self._is_in_sample():
            self._log(logging.INFO, "prediction request", seen, code, seconds)
        if seen.trace and self.tracing:
            self.tracing.end(seen.trace, seen, code)
        logs.answering.set(None)

    def _failed(self, seen: Seen, code: int, seconds: float) -> None:
        seen.reason = seen.reason or reasons.of_status(code)
        self.metrics.failed(seen.model, seen.reason)
        if code == 429:
            self.metrics.rate_limited.inc()
        else:
            self._log(logging.INFO, "prediction request", seen, code, seconds)

    def _is_in_sample(self) -> bool:
        """Whether this success is among the first of its second."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._logged = second, 0
        if self._logged >= self._successes:
            self._skipped += 1
            return False
        self._logged += 1
        return True

    def _log(self, level: int, message: str, seen: Seen, code: int, seconds: float) -> None:
        extra = {
            "model": seen.model,
            "version": seen.version,
            "arm": seen.arm,
            "code": code,
            "seconds": round(seconds, 6),
            "reason": seen.reason or None,
            "cached": seen.cached or None,
            "skipped": self._skipped or None,
        }
        self._skipped = 0
        log.log(level, message, extra=extra)


class Observed:
    """ASGI middleware: puts a `Seen` into `request.state`, and has prediction requests observed. An error that comes as far as here is answered with
    its `refusal`, so that no answer leaves without the headers that all have; when an answer has begun, the server ends the connection."""

    def __init__(
        self, app: ASGIApp, observer: Observer, refusal: Callable[[Scope, Exception], ASGIApp]
    ) -> None:
        self._app, self._observer, self._refusal = app, observer, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        counted = path.endswith(COUNTED_V2) or path == COUNTED or path.startswith(f"{COUNTED}/")
        state, seen = scope.setdefault("state", {}), Seen()
        state["seen"] = seen
        code, answering, start = 500, False, time.perf_counter()

        def watched(message: Message) -> Awaitable[None]:
            nonlocal code, answering
            if message["type"] == "http.response.start":
                code, answering = message["status"], True
                secure(message, tls=scope["scheme"] == "https")
            return send(message)

        try:
            if counted:
                seen = state["seen"] = self._observer.begin(scope["headers"])
            await self._app(scope, receive, watched)
        except Exception as error:
            if answering:
                raise
            await self._refusal(scope, error)(scope, receive, watched)
        finally:
            if counted:
                self._observer.end(seen, code, time.perf_counter() - start)
