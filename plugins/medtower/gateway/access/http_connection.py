"""One connection as uvicorn's fast parser serves it, with four differences: what comes before a body is bounded (it takes in a header of any length, also
from somebody without a login), it is known when a body has come in whole, an answer's head and body leave as one packet, and one timer looks after all
pauses between the requests."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST = 64 * 1024
BODY_IS_IN = "body_is_in"
"""In `scope["state"]`, true when all of the body has come in, so that nobody has to wait for it."""


class JoinedWrites:
    """A transport that sends what is written in one turn of the event loop at once: a packet for the head and another one for the body of each answer
    are work for both ends."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._loop = transport, asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self._size = 0
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size > LARGEST:  # whoever writes much is told by the transport when to wait
            self.flush()

    def flush(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            self._transport.write(b"".join(pieces))

    def close(self) -> None:
        self.flush()
        self._transport.close()


class HttpConnection(HttpToolsProtocol):
    """Ends a connection with 400 when more than 64 KiB have come that made neither a whole head nor a piece of a body (trailers and the lines
    between chunks are bounded so as well).

    uvicorn sets a timer after every answer and stops it at the next request, which takes as long as parsing that; here the one that runs looks, when it
    comes round, for how long the connection has been idle."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unfinished = 0
        self._idle_since = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport)))

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > LARGEST and not self.transport.is_closing():
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
