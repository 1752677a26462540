"""What a path asks of its caller: a login that the guard has seen, and the right to do what the path does."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.types import Scope

from medtower.domain.access import Action, Caller

KEY = APIKeyHeader(name="X-API-Key", auto_error=False)
TOKEN = HTTPBearer(auto_error=False, bearerFormat="JWT")
NAMES_A_MODEL = re.compile(r"(?:/api/v1/ml/(?:predict|models)|/v2/models)/([^/]+)")


def must(scope: Scope, action: Action, model: str | None = None) -> Caller:
    """The caller of an HTTP request when it may do `action` to `model` (else to the one that the path names).

    Call it before looking up what the caller named. Raises Forbidden; NotFound for a model out of scope.
    """
    caller: Caller = scope["state"]["caller"]  # the guard has put it there
    if model is None and (named := NAMES_A_MODEL.match(scope["path"])):
        model = named[1]
    caller.must(action, model)
    return caller


def peer(scope: Scope) -> str | None:
    """The address at the other end of the connection. What a header says of it does not count."""
    client = scope.get("client")
    return client[0] if client else None


def may(action: Action) -> Any:
    """A dependency of routes: the caller may do `action`, to the model in the path when there is one. (Async: the framework sends plain functions to a thread.)"""

    async def check(
        request: Request, _: Annotated[Any, Security(KEY)], __: Annotated[Any, Security(TOKEN)]
    ) -> Caller:
        return must(request.scope, action)

    return Depends(check)
