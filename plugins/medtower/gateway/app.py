"""The inference service as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from medtower.domain.contract import Contract
from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway import problems, routes
from medtower.gateway.answers import example
from medtower.gateway.observed import Observed
from medtower.gateway.parts import Parts, assemble
from medtower.gateway.shipper import Shipper, Sink
from medtower.settings import Settings


def create(
    settings: Settings, *, contracts: Iterable[Contract] | None = None, sink: Sink | None = None
) -> FastAPI:
    """The gateway of this tower. `contracts` stand in for the folder `settings.models`; without a `sink` the record stays in the spool.

    Raises Refused, NotFound or RecordUnavailable when it cannot be put together.
    """
    parts = assemble(settings, contracts)
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
    app.include_router(routes.api({name: example(c) for name, c in parts.contracts.items()}))
    app.include_router(routes.operations())
    return app


@asynccontextmanager
async def _lifespan(parts: Parts, sink: Sink | None) -> AsyncIterator[None]:
    shipper = Shipper(parts.record.spool, sink, parts.metrics.shipped.inc) if sink else None
    if shipper:
        shipper.start()
    try:
        yield
    finally:  # the server has let the requests in flight finish before it comes here
        if shipper:
            await asyncio.to_thread(shipper.stop)
        await parts.triton.close()
        await asyncio.to_thread(parts.record.spool.close)
