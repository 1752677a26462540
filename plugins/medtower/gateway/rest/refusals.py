"""How the paths that show the record and take files refuse, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from medtower.gateway.rest.answers import Problem

WHY = {
    401: "no login, or one that does not count",
    403: "the role of this login does not include it",
    404: "there is no such thing, or it is not this caller's",
    408: "nothing of the body came in for 10 s",
    409: "it is not at that point",
    413: "the file is larger than the gateway takes",
    415: "the content type is not one of those described",
    422: "a field or parameter breaks a rule; the value is not repeated",
    429: "too much at once; Retry-After says when to ask again",
    503: "a part that it needs is down, and the message says which; Retry-After says when to ask again",
}
ALWAYS = (401, 403, 429)


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The refusals with `codes`, and those that every path behind a login has."""
    return {code: {"model": Problem, "description": WHY[code]} for code in sorted({*ALWAYS, *codes})}
