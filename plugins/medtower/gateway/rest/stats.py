"""How much came, what waits, and what is closed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request

from medtower.adapters.postgres.answered import counts
from medtower.gateway.access.caller import may, must
from medtower.gateway.parts import Parts
from medtower.gateway.rest.history import of
from medtower.gateway.rest.reading import Reading
from medtower.gateway.rest.refusals import refusals
from medtower.gateway.rest.shown import OpenBreaker, Requests, Stats, Waiting

MOST_HOURS = 24 * 90


def api(reading: Reading) -> APIRouter:
    router = APIRouter(prefix="/api/v1/ml", tags=["record"], dependencies=[may("stats")])
    started = time.monotonic()

    @router.get(
        "/stats",
        summary="How much came, what waits, and what is closed",
        responses=refusals(422, 503),
    )
    async def get_stats(request: Request, hours: Annotated[float, Query(gt=0, le=MOST_HOURS)] = 24) -> Stats:
        """`requests` are counted from the record: what came to a version. What was refused before that (no login, a field that breaks a rule) is in
        `medtower_requests_total` of the metrics."""
        parts: Parts = request.app.state.parts
        caller = must(request.scope, "stats")
        rows, oldest = await asyncio.to_thread(parts.record.spool.depth)
        now = datetime.now(UTC)
        since = now - timedelta(hours=hours)
        found = await reading.ask(counts, of(caller, None), since, now)
        return Stats(
            since=since,
            until=now,
            requests=[Requests.model_validate(each, from_attributes=True) for each in found],
            breakers=[
                OpenBreaker(model=model, version=arm.version, open=parts.breakers.is_open(model, arm))
                for model, arm in parts.routing.candidates()
                if caller.sees(model)
            ],
            spool=Waiting(rows=rows, oldest_seconds=oldest),
            uptime_seconds=time.monotonic() - started,
        )

    return router
