"""The door of the HTTP service: no path is reached without a login, whoever wrote it; a few are open to the machine itself."""

from __future__ import annotations

import time

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from medtower.domain.access import Action, Caller
from medtower.gateway import problems
from medtower.gateway.access.caller import peer
from medtower.gateway.access.identify import Access
from medtower.gateway.access.login import from_here
from medtower.gateway.v2 import problems as v2_problems

OPEN_HERE: dict[str, Action] = {
    "/health/": "operate",
    "/metrics": "operate",
    "/docs": "operate",
    "/openapi.json": "operate",
    "/v2/health/": "models",
}
"""What begins so is open to this machine itself, and to another with the right to that action. Metrics and documentation name every model."""
BEGINNINGS = tuple(OPEN_HERE)
HERE = Caller("(here)", frozenset({"operate"}))
"""Whoever asks from this machine itself, without a login: it may see how the process does, and read the documentation."""


class Guard:
    """ASGI middleware: puts the `Caller` into `scope["state"]` and its id into what is logged, or answers itself: 401, 403, 429, 503, and 500 for a mistake of ours.

    What the caller may do is asked by each path with `must` or `may`.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        state = scope["state"]
        try:
            if scope["path"].startswith(BEGINNINGS):
                caller = await self._caller_of_open(scope)
            else:
                caller = await self._access.admit(scope["headers"], peer(scope), time.time())
        except Exception as error:
            return await refusal(scope, error)(scope, receive, send)
        state["caller"], state["seen"].caller = caller, caller.id
        return await self._app(scope, receive, send)

    async def _caller_of_open(self, scope: Scope) -> Caller:
        headers, client = scope["headers"], peer(scope)
        if from_here(headers, client):
            return HERE
        caller = await self._access.admit(headers, client, time.time())
        caller.must(next(action for begin, action in OPEN_HERE.items() if scope["path"].startswith(begin)))
        return caller


def refusal(scope: Scope, error: Exception) -> Response:
    """What `error` is answered with, in the form of the path that was asked."""
    seen = scope["state"]["seen"]
    if not scope["path"].startswith("/v2"):
        return problems.response(seen, error)
    status, message = v2_problems.problem(error, seen)
    body, headers = v2_problems.reply(status, message, getattr(error, "seconds", None))
    answer = Response(body, status, media_type="application/json")
    answer.raw_headers.extend(headers)
    return answer
