"""What was answered before: pages of the record, newest first."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request

from medtower.adapters.postgres.answered import Shown, page
from medtower.domain.access import Caller
from medtower.errors import FeatureInvalid
from medtower.gateway.access.caller import may, must
from medtower.gateway.parts import Parts
from medtower.gateway.rest.reading import Reading
from medtower.gateway.rest.refusals import refusals
from medtower.gateway.rest.shown import History, PastPrediction

MOST = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PLACE = re.compile(r"([0-9]{1,16})~([A-Za-z0-9._:~-]{1,150})", re.ASCII)
ASKED_FOR = {
    "model": "of one model; of all that the caller may see when left out",
    "before": "`next` of the page before this one",
}


def api(reading: Reading) -> APIRouter:
    router = APIRouter(prefix="/api/v1/ml", tags=["record"], dependencies=[may("history")])

    @router.get(
        "/predictions/history",
        summary="What was answered, newest first",
        responses=refusals(404, 422, 503),
    )
    async def get_history(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        model: Annotated[str | None, Query(max_length=63, description=ASKED_FOR["model"])] = None,
        before: Annotated[
            str | None, Query(pattern=f"^{PLACE.pattern}$", description=ASKED_FOR["before"])
        ] = None,
    ) -> History:
        """Ids, versions, numbers and times; a pseudonym for the subject; no features. Pages do not overlap and leave nothing out while new answers come in."""
        parts: Parts = request.app.state.parts
        caller = must(request.scope, "history", model)
        if model is not None:
            parts.routing.route(model)
        place = _place(before) if before else None
        # counted first: what leaves the spool meanwhile may be shown and counted, and is never neither
        waiting, _ = await asyncio.to_thread(parts.record.spool.depth)
        found = await reading.ask(page, of(caller, model), before=place, limit=limit + 1)
        return _page(found, limit, waiting)

    return router


def of(caller: Caller, model: str | None) -> Sequence[str] | None:
    """The models that a question is about: the one that was named, else all that `caller` sees (None: every one)."""
    if model is not None:
        return [model]
    return None if caller.models is None else sorted(caller.models)


def _page(found: Sequence[Shown], limit: int, waiting: int) -> History:
    shown = found[:limit]
    return History(
        predictions=[PastPrediction.model_validate(each, from_attributes=True) for each in shown],
        next=_name(shown[-1]) if len(found) > limit else None,
        not_yet_shown=waiting,
    )


def _name(shown: Shown) -> str:
    return f"{(shown.received_at - EPOCH) // timedelta(microseconds=1)}~{shown.request_id}"


def _place(name: str) -> tuple[datetime, str]:
    found = PLACE.fullmatch(name)
    if found is None:
        raise FeatureInvalid("before", "must be what `next` said")
    return EPOCH + timedelta(microseconds=int(found[1])), found[2]
