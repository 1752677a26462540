"""How a model does: what the record says of the last hours, and what tracking measured by the outcomes that came."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query, Request

from medtower.adapters.postgres import answered, health, performance
from medtower.adapters.postgres.database import Database
from medtower.domain.estimate import Status
from medtower.domain.routing import Route
from medtower.gateway.access.caller import may
from medtower.gateway.parts import Parts
from medtower.gateway.rest.reading import Reading
from medtower.gateway.rest.refusals import refusals
from medtower.gateway.rest.shown import Measured, Number, Performance, Served
from medtower.statistics.intervals import wilson

MOST_HOURS = 24 * 90
TRACKING = "track_performance"
KINDS: tuple[performance.Kind, ...] = ("tracking", "benchmark")


def api(reading: Reading) -> APIRouter:
    router = APIRouter(prefix="/api/v1/ml", tags=["record"], dependencies=[may("performance")])

    @router.get(
        "/models/{model}/performance",
        summary="How a model does, every number with its n and interval",
        responses=refusals(404, 422, 503),
    )
    async def get_performance(
        model: str, request: Request, hours: Annotated[float, Query(gt=0, le=MOST_HOURS)] = 24
    ) -> Performance:
        """`served` is counted from the record of the last `hours`; `measured` is what tracking and the benchmark stored last, whenever that was."""
        parts: Parts = request.app.state.parts
        route = parts.routing.route(model)
        waiting, _ = await asyncio.to_thread(parts.record.spool.depth)
        return await reading.ask(_report, route, hours, waiting)

    return router


def _report(database: Database, route: Route, hours: float, waiting: int) -> Performance:
    now = datetime.now(UTC)
    since, due = now - timedelta(hours=hours), now - timedelta(days=_label_delay(route))
    found = [
        (kind, tracked)
        for kind in KINDS
        for tracked in performance.latest(database, route.model, kind=kind, each_version=True)
    ]
    return Performance(
        model=route.model,
        since=since,
        until=now,
        served=[_served(live) for live in answered.live(database, route.model, since, now, due)],
        measured=list(_measured(found)),
        last_tracked=health.last_success(database).get((TRACKING, route.model)),
        not_yet_counted=waiting,
    )


def _label_delay(route: Route) -> float:
    """Days after which an outcome should have come, by the contract that serves; nothing is due where nothing serves."""
    return route.arms[0].contract.tracking.label_delay_days if route.arms else float(MOST_HOURS)


def _served(live: answered.Live) -> Served:
    failed = sum(live.failures.values())
    attempts = live.answered + failed
    shares = [share("error_rate", failed, attempts)]
    shares += [share(f"error_rate_{code}", n, attempts) for code, n in sorted(live.failures.items())]
    shares += [
        share("human_review_rate", live.for_review, live.answered),
        share("label_coverage", live.labelled, live.due),
    ]
    return Served(
        version=live.version,
        answered=live.answered,
        cached=live.cached,
        failed={str(code): n for code, n in sorted(live.failures.items())},
        numbers=[*shares, *map(_milliseconds, live.latency)],
    )


def share(metric: str, successes: int, n: int) -> Number:
    """A proportion with its Wilson interval; of nothing there is no number."""
    if n == 0:
        return Number(
            metric=metric,
            n=0,
            value=None,
            lower=None,
            upper=None,
            method="Wilson",
            status=Status.INSUFFICIENT,
        )
    found = wilson(successes, n)
    return Number(
        metric=metric, n=n, value=found.value, lower=found.lower, upper=found.upper, method=found.method
    )


def _milliseconds(quantile: answered.Quantile) -> Number:
    return Number(
        metric=f"model_milliseconds_p{quantile.q * 100:g}",
        n=quantile.n,
        value=quantile.value,
        lower=quantile.lower,
        upper=quantile.upper,
        method="order statistics",
        status=Status.INSUFFICIENT if quantile.value is None else None,
    )


def _measured(found: Sequence[tuple[str, performance.Tracked]]) -> Iterable[Measured]:
    """One for each version and kind, in the order they come."""
    for (kind, version), group in groupby(found, key=lambda each: (each[0], each[1].version)):
        rows = [tracked for _, tracked in group]
        yield Measured(
            version=version,
            kind=kind,
            window_start=rows[0].window_start,
            window_end=rows[0].window_end,
            as_of=rows[0].as_of,
            label_coverage=rows[0].coverage,
            numbers=[Number(**row.estimate.model_dump(), status=row.status) for row in rows],
        )
