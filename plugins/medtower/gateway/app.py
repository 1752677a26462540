"""The inference service as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway import problems
from medtower.gateway.access.guard import Guard, refusal
from medtower.gateway.observing.observed import Observed
from medtower.gateway.parts import Parts, assemble
from medtower.gateway.privacy import scan
from medtower.gateway.privacy.texts import has_text
from medtower.gateway.recording.shipper import Shipper, Sink
from medtower.gateway.rest import docs_page, documented, history, performance, routes, stats
from medtower.gateway.rest.batch import routes as batch
from medtower.gateway.rest.examples import with_examples
from medtower.gateway.rest.predictions import Predictions
from medtower.gateway.rest.reading import Reading
from medtower.gateway.v2 import grpc_server
from medtower.gateway.v2.http import OpenInference
from medtower.settings import Settings

SHIP_SECONDS = 1.0  # each batch takes the interpreter and the disk from the answers for some milliseconds


def create(settings: Settings, *, sink: Sink | None = None) -> FastAPI:
    """The gateway of this tower. Without a `sink` the record stays in the spool.

    Raises Refused or RecordUnavailable when it cannot be put together.
    """
    parts = assemble(settings)
    app: FastAPI = FastAPIOffline(
        title="Medtower gateway",
        description=DISCLAIMER,
        version=version("medtower"),
        docs_url=None,
        redoc_url=None,
        static_url=docs_page.ASSETS,
        lifespan=lambda served: _lifespan(served.state.parts, sink, settings),
    )
    app.state.parts = parts
    problems.install(app)
    docs_page.install(app)
    app.include_router(routes.api())
    app.include_router(routes.operations())
    reading = Reading(settings.dsn.get_secret_value())
    for room in (history, performance, stats):
        app.include_router(room.api(reading))
    app.include_router(batch.api(settings))
    app.openapi = lambda: with_examples(_document(app), parts.routing.contracts())  # type: ignore[method-assign]
    app.middleware_stack = _layers(app, parts)
    return app


def _layers(app: FastAPI, parts: Parts) -> ASGIApp:
    """What a request passes, outermost first. The framework stands behind the hot paths and not around them (ADR 13): no handler of errors that is
    installed after this is heard of, and `add_middleware` is refused."""
    guarded = Guard(OpenInference(Predictions(app.build_middleware_stack())), parts.access)
    return Observed(guarded, parts.observer, refusal)


def _document(app: FastAPI) -> dict[str, Any]:
    described = FastAPI(title=app.title, description=app.description, version=app.version)
    described.include_router(documented.predictions())
    described.router.routes.extend(app.routes)
    return described.openapi()


@asynccontextmanager
async def _lifespan(parts: Parts, sink: Sink | None, settings: Settings) -> AsyncIterator[None]:
    shipper = Shipper(parts.record.spool, sink, parts.metrics, idle=SHIP_SECONDS) if sink else None
    if shipper:
        shipper.start()
    try:
        parts.escalations.start()
        if has_text(parts.routing.contracts().values()):
            await asyncio.to_thread(scan.prepare)
        async with grpc_server.serving(parts, settings):
            yield
    finally:  # the server has let the requests in flight finish before it comes here
        await parts.shadowing.close()
        await parts.escalations.close()
        if shipper:
            await asyncio.to_thread(shipper.stop)
        await parts.triton.close()
        await parts.trial.close()
        await asyncio.to_thread(parts.record.spool.close)
        parts.access.close()
        await parts.cache.close()
        if parts.observer.tracing:
            await asyncio.to_thread(parts.observer.tracing.close)
