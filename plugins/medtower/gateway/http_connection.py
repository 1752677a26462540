"""One connection as uvicorn's fast parser serves it, with four differences: what comes before a body is bounded (it takes in a header of any length, also
from somebody without a login), it is known when a body has come in whole, an answer's head and body are one write, and one timer looks after all pauses
between the requests."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from medtower.gateway.joined_writes import JoinedWrites

LARGEST_HEAD = 64 * 1024
BODY_IS_IN = "body_is_in"
"""In `scope["state"]`, true when all of the body has come in, so that nobody has to wait for it."""


class HttpConnection(HttpToolsProtocol):
    """Ends a connection with 400 when more than 64 KiB have come that made neither a whole head nor a piece of a body (trailers and the lines
    between chunks are bounded so as well).

    uvicorn sets a timer after every answer and stops it at the next request, which takes as long as parsing that; here the one that runs looks, when it
    comes round, for how long the connection has been idle."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unfinished = 0
        self._idle_since = math.inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._joined = JoinedWrites(cast(asyncio.Transport, transport))
        super().connection_made(cast(asyncio.Transport, self._joined))

    def eof_received(self) -> None:
        self._joined.flush()  # the transport closes itself after this
        super().eof_received()

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unfinished = 0
        self.scope["state"][BODY_IS_IN] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        more = bool(self.pipeline)
        if more or self.timeout_keep_alive_task is None or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        if not more:
            self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            super().timeout_keep_alive_handler()
        elif not self.transport.is_closing():
            wait = min(left, self.timeout_keep_alive)
            self.timeout_keep_alive_task = self.loop.call_later(wait, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = math.inf
