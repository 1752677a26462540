"""The gRPC port of the gateway: a server on the event loop that serves HTTP too."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from medtower.errors import PortTaken
from medtower.gateway.parts import Parts
from medtower.gateway.rest.body import LARGEST
from medtower.settings import Settings

log = logging.getLogger(__name__)
GRACE_SECONDS = 5
MOST_CALLS = 1024
MOST_OF_ONE = 128  # calls over one connection
ENVELOPE = 16 * 1024  # what a message may have around its numbers
OPTIONS = [
    ("grpc.max_receive_message_length", LARGEST + ENVELOPE),
    ("grpc.max_concurrent_streams", MOST_OF_ONE),
    ("grpc.so_reuseport", 0),  # a port that another process holds is an error, not a share of its calls
]


@asynccontextmanager
async def serving(parts: Parts, settings: Settings) -> AsyncIterator[None]:
    """Serve gRPC while the block runs; without a port nothing is started, and nothing of gRPC is imported. Raises PortTaken."""
    if not settings.gateway_grpc_port:
        yield
        return
    server = _server(parts)
    _listen(server, settings)
    await server.start()
    try:
        yield
    finally:  # calls on their way are finished before the parts go
        await server.stop(GRACE_SECONDS)


def _server(parts: Parts) -> Any:
    import grpc.aio

    from medtower.gateway.v2.grpc_service import InferenceService

    server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=MOST_CALLS)
    server.add_generic_rpc_handlers((InferenceService(parts).handler(),))
    return server


def _listen(server: Any, settings: Settings) -> None:
    import grpc

    address = f"{settings.bind}:{settings.gateway_grpc_port}"
    try:
        if settings.tls_certificate and settings.tls_key:
            pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
            server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            server.add_insecure_port(address)
    except RuntimeError as error:
        taken, setting = settings.gateway_grpc_port, "set MEDTOWER_GATEWAY_GRPC_PORT"
        raise PortTaken("gateway (gRPC)", taken, address=settings.bind, setting=setting) from error
