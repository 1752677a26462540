"""The hot path: one prediction over HTTP as a plain ASGI callable. The framework's routing and response models would take as long as all the rest of
it together; the OpenAPI document describes these paths by the routes in `documented.py`."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from medtower.gateway import problems
from medtower.gateway.access.caller import must
from medtower.gateway.answering.case import Case, case_of
from medtower.gateway.answering.predict import copied, predict
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.rest import body

ONE, NAMED = "/api/v1/ml/predict", "/api/v1/ml/predict/"


class Predictions:
    """ASGI middleware that answers the two predict paths, and hands everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or not scope["path"].startswith(ONE):
            return self._app(scope, receive, send)
        name = None if scope["path"] == ONE else scope["path"].removeprefix(NAMED)
        if name is not None and "/" in name:
            return self._app(scope, receive, send)
        return _answer(scope["app"].state.parts, name, scope, receive, send)


async def _answer(parts: Parts, name: str | None, scope: Scope, receive: Receive, send: Send) -> None:
    seen: Seen = scope["state"]["seen"]
    try:
        if scope["method"] != "POST":
            raise HTTPException(405)
        must(scope, "predict", name)
        case = await _case(parts, name, scope, receive, seen)
        answered = await predict(parts, case, seen)
        content = answered.json()
    except Exception as error:
        return await problems.response(seen, error)(scope, receive, send)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
    return await copied(parts, answered)


async def _case(parts: Parts, name: str | None, scope: Scope, receive: Receive, seen: Seen) -> Case:
    """The case; `name` None: the body says which model is asked."""
    if name is not None:
        seen.model = parts.routing.route(
            name
        ).model  # before the body is read: nobody sends one to a model that is not there
    content = await body.read(scope, receive)
    now = datetime.now(UTC)
    value = body.strict_json(content)
    if name is None:
        named = body.model_of(value)
        must(scope, "predict", named)
        seen.model = parts.routing.route(named).model
    return case_of(parts.subject_key, seen.model, body.ask(value, now, named=name is None), content, now)
