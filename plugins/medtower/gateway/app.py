"""The inference service as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway import problems, routes
from medtower.gateway.examples import with_examples
from medtower.gateway.observed import Observed
from medtower.gateway.parts import Parts, assemble
from medtower.gateway.shipper import Shipper, Sink
from medtower.settings import Settings


def create(settings: Settings, *, sink: Sink | None = None) -> FastAPI:
    """The gateway of this tower. Without a `sink` the record stays in the spool.

    Raises Refused or RecordUnavailable when it cannot be put together.
    """
    parts = assemble(settings)
    app: FastAPI = FastAPIOffline(  # the documentation page with its script and style: a hospital has no CDN
        title="Medtower gateway",
        description=DISCLAIMER,
        version=version("medtower"),
        redoc_url=None,
        static_url="/docs/assets",
        lifespan=lambda _: _lifespan(parts, sink),
    )
    app.state.parts = parts
    problems.install(app)
    app.add_middleware(Observed, metrics=parts.metrics)
    app.include_router(routes.api())
    app.include_router(routes.operations())
    document = app.openapi
    app.openapi = lambda: with_examples(document(), parts.routing.contracts())  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(parts: Parts, sink: Sink | None) -> AsyncIterator[None]:
    shipper = Shipper(parts.record.spool, sink, parts.metrics) if sink else None
    if shipper:
        shipper.start()
    try:
        yield
    finally:  # the server has let the requests in flight finish before it comes here
        await parts.shadowing.close()
        if shipper:
            await asyncio.to_thread(shipper.stop)
        await parts.triton.close()
        await parts.trial.close()
        await asyncio.to_thread(parts.record.spool.close)
