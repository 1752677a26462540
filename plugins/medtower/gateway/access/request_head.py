"""What comes before a body is bounded: uvicorn's fast parser takes in a header of any length, also from somebody without a login."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST = 64 * 1024
WHOLE = "whole"
"""In `scope["state"]`, true when all of the body has come in, so that nobody has to wait for it."""


class BoundedHead(HttpToolsProtocol):
    """Ends a connection with 400 when more than 64 KiB have come that made neither a whole head nor a piece of a body (trailers and the lines
    between chunks are bounded so as well)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unfinished = 0

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
        self.scope["state"][WHOLE] = True
        super().on_message_complete()
