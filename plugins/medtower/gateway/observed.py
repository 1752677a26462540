"""What is counted and logged about every request: ids, status and seconds, never what was in it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medtower.gateway.metrics import UNKNOWN, Metrics

log = logging.getLogger(__name__)
COUNTED = "/api/v1/ml/predict/"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass
class Seen:
    """What is known of a request so far. `model` is the name of a contract, never what the caller wrote; version 0 is none."""

    model: str = UNKNOWN
    version: int = 0


class Observed:
    """ASGI middleware: puts a `Seen` into `request.state`, and counts and logs a prediction request when it has ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen, code, start = Seen(), 500, time.perf_counter()
        scope.setdefault("state", {})["seen"] = seen

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if scope["path"].startswith(COUNTED):
                self._count(seen, code, time.perf_counter() - start)

    def _count(self, seen: Seen, code: int, seconds: float) -> None:
        self._metrics.served(seen.model, seen.version, code, seconds)
        extra = {"model": seen.model, "version": seen.version, "code": code, "seconds": round(seconds, 6)}
        log.info("prediction request", extra=extra)
