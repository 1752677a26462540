"""What V2 over HTTP tells beside predictions: health, metadata, configuration, what serves."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope

from medtower.gateway.access.caller import must
from medtower.gateway.parts import Parts
from medtower.gateway.rest.body import read
from medtower.gateway.v2 import metadata, readiness, requests
from medtower.gateway.v2.asking import addressed, named_by
from medtower.gateway.v2.problems import ReadOnly

CHANGING = ("systemsharedmemory", "cudasharedmemory", "repository", "trace", "logging")
INDEX = ["repository", "index"]
Told = tuple[int, Any]


async def described(parts: Parts, place: list[str], scope: Scope, receive: Receive) -> Told:
    """Status, and what there is to say as JSON (None: nothing), of `place` (the path after /v2). Raises HTTPException and MedtowerError."""
    if place[:1] == ["health"]:
        return await _health(parts, place[1:], scope)  # who may look, the guard knows
    caller = must(scope, "models")
    if place == INDEX:
        _only(scope, "POST")
        asked = requests.only_ready(await read(scope, receive))
        return 200, metadata.index(parts.routing.table(), caller, ready=asked)
    if _changing(place):
        raise ReadOnly
    _only(scope, "GET")
    if place in ([], [""]):
        return 200, metadata.server()
    if place[0] == "models" and len(place) > 1:
        return await _model(parts, place[1:])
    raise HTTPException(404)


def _changing(place: list[str]) -> bool:
    return bool(place) and (place[0] in CHANGING or place[2:3] == ["trace"])


async def _model(parts: Parts, place: list[str]) -> Told:
    what = place.pop() if place[-1] in ("ready", "config") and len(place) > 1 else ""
    route, version = addressed(parts, place)
    if what == "ready":
        return (200 if await readiness.model(parts, route, version) else 503), None
    contract = named_by(route, version).contract
    return 200, metadata.config(route, contract) if what else metadata.model(route, contract)


async def _health(parts: Parts, place: list[str], scope: Scope) -> Told:
    _only(scope, "GET")
    if place == ["live"]:
        return 200, None
    if place == ["ready"]:
        return (200 if await readiness.server(parts) else 503), None
    raise HTTPException(404)


def _only(scope: Scope, method: str) -> None:
    if scope["method"] != method:
        raise HTTPException(405)
