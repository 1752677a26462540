"""A large body, straight to the disk: bounded while it comes in, and given up when nothing comes any more."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope

from medtower.gateway.rest.batch.columns import Format
from medtower.gateway.rest.body import GONE

SILENCE, LONGEST = 10.0, 900.0
FORMATS: dict[str, Format] = {
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
}


def format_of(scope: Scope) -> Format:
    """What the body says it is. Raises HTTPException 415."""
    headers = {
        name: value for name, value in scope["headers"] if name in (b"content-type", b"content-encoding")
    }
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise HTTPException(415)
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if kind not in FORMATS:
        raise HTTPException(415)
    return FORMATS[kind]


async def receive_into(path: Path, scope: Scope, receive: Receive, most: int) -> None:
    """Write the body to the new file `path` (mode 600). Raises HTTPException: 413 when it is or turns out larger than `most` bytes, 408 when for 10 s
    nothing comes or it takes longer than 15 minutes, 499 when the caller hung up; OSError."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if announced.isdigit() and int(announced[:20]) > most:
        raise HTTPException(413)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            async with asyncio.timeout(LONGEST):
                size, more = 0, True
                while more:
                    async with asyncio.timeout(SILENCE):
                        message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HTTPException(GONE, "gone")
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    size += len(chunk)
                    if size > most:
                        raise HTTPException(413)
                    await asyncio.to_thread(file.write, chunk)
        except TimeoutError:
            raise HTTPException(408) from None
