"""V2 over HTTP as plain ASGI callables: one prediction is the hot path, so nothing of a framework stands in it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from medtower.gateway.access.caller import must
from medtower.gateway.answering.plan import plan_of
from medtower.gateway.answering.predict import Answered, copied
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.rest.body import read
from medtower.gateway.v2 import json_codec, problems, requests, responses
from medtower.gateway.v2.asking import addressed, answers, named_by
from medtower.gateway.v2.binary_codec import HEADER_LENGTH
from medtower.gateway.v2.bodies import unpacked
from medtower.gateway.v2.descriptions import described

JSON, BINARY = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")


class OpenInference:
    """ASGI middleware that answers every path under /v2, and hands everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and (scope["path"] == "/v2" or scope["path"].startswith("/v2/")):
            return handle(scope["app"].state.parts, scope, receive, send)
        return self._app(scope, receive, send)


async def handle(parts: Parts, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request under /v2. Every error leaves in the protocol's form."""
    seen: Seen = scope["state"]["seen"]
    try:
        place = scope["path"].split("/")[2:]
        if place[-1:] == ["infer"] and place[0] == "models" and scope["method"] == "POST":
            answered = await infer(parts, place[1:-1], scope, receive, send)
        else:
            answered = ()
            status, content = await described(parts, place, scope, receive)
            await _send(send, status, b"" if content is None else json_codec.encode(content), [JSON])
    except Exception as error:
        status, message = problems.problem(error, seen)
        body, headers = problems.reply(status, message, getattr(error, "seconds", None))
        await _send(send, status, body, [JSON, *headers])
        return
    for each in answered:
        await copied(parts, each)


async def infer(
    parts: Parts, place: Sequence[str], scope: Scope, receive: Receive, send: Send
) -> Sequence[Answered]:
    """POST /v2/models/{model}[/versions/{version}]/infer, where `place` is what stands between. When the answer leaves, its record is on the disk.
    Returns what a shadow may score now. Raises what `problems` maps."""
    seen: Seen = scope["state"]["seen"]
    caller = must(scope, "predict", place[0] if place else None)
    route, version = addressed(parts, place)
    seen.model = route.model
    headers = dict(scope["headers"])
    body = unpacked(await read(scope, receive), headers.get(b"content-encoding"))
    plan = plan_of(named_by(route, version).contract)
    question = requests.question(body, headers.get(HEADER_LENGTH), plan.width, version)
    parts.access.charge(caller, len(question.rows), time.time())
    answered = await answers(parts, route, question, seen)
    content, header_length = responses.encoded(route.model, question, [each.answer for each in answered])
    if header_length is None:
        await _send(send, 200, content, [JSON])
    else:
        await _send(send, 200, content, [BINARY, (HEADER_LENGTH, b"%d" % header_length)])
    return answered


async def _send(send: Send, status: int, body: bytes, headers: problems.Headers) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
