"""A gRPC call as the gateway's rules see it: who asks, and the status that goes back."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote

import grpc

from medtower.domain.access import Caller
from medtower.gateway.access.guard import HERE
from medtower.gateway.access.login import from_here
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts

STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ALREADY_EXISTS,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
Context = Any  # grpc.aio.ServicerContext


async def caller_of(parts: Parts, context: Context, seen: Seen, *, here: bool = False) -> Caller:
    """Who asks; `here`: the machine itself needs no login. Raises Unauthorized, RateLimited, Unavailable."""
    headers = headers_of(context)
    peer = address(context.peer())
    if here and from_here(headers, peer):
        return HERE
    caller = await parts.access.admit(headers, peer, time.time())
    seen.caller = caller.id
    return caller


def headers_of(context: Context) -> list[tuple[bytes, bytes]]:
    """The call's metadata as HTTP headers; gRPC wants their names in lower case."""
    return [(name.encode(), _bytes(value)) for name, value in context.invocation_metadata() or ()]


def code(status: int) -> grpc.StatusCode:
    """What gRPC calls an HTTP status."""
    return STATUS.get(status, grpc.StatusCode.INTERNAL)


def address(peer: str) -> str | None:
    """The address in what gRPC calls the peer (`ipv4:127.0.0.1:1234`, `ipv6:%5B::1%5D:1234`)."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return host.strip("[]")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
