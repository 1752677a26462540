"""What is written to a connection in one turn of the event loop, as one write: uvicorn writes an answer's head and its body one by one, and two packets are
work for both ends."""

from __future__ import annotations

import asyncio

LARGEST = 64 * 1024


class JoinedWrites:
    """The part of `transport` that uvicorn uses. What is written leaves at the end of the turn, or before the connection is closed; to one that is lost
    already nothing is written."""

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
        # only what the transport has makes it ask the writer to wait (`pause_writing`)
        if self._size > LARGEST:
            self.flush()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Hand over now what was written."""
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces and not self._transport.is_closing():
            self._transport.write(b"".join(pieces))
