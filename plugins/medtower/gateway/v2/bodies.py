"""Bodies of V2 requests: bounded as they come in, and bounded again when they are unpacked."""

from __future__ import annotations

import zlib

from starlette.exceptions import HTTPException

from medtower.errors import ProtocolInvalid
from medtower.gateway.rest.body import LARGEST

GZIP, ZLIB = 31, 15  # what zlib calls the window of either format
WINDOWS = {b"gzip": GZIP, b"deflate": ZLIB}


def unpacked(body: bytes, encoding: bytes | None) -> bytes:
    """The `body`, decompressed when it came with Content-Encoding gzip or deflate. Raises HTTPException 413 and ProtocolInvalid."""
    if encoding is None or encoding == b"identity":
        return body
    window = WINDOWS.get(encoding.lower())
    if window is None:
        raise ProtocolInvalid("Content-Encoding must be gzip, deflate or identity")
    return decompressed(body, window)


def decompressed(body: bytes, window: int, *, largest: int = LARGEST) -> bytes:
    """One compressed stream, never unpacked beyond `largest` bytes. Raises HTTPException 413 for more, ProtocolInvalid for anything else."""
    stream = zlib.decompressobj(window)
    try:
        content = stream.decompress(body, largest + 1)
    except zlib.error:
        raise ProtocolInvalid("the body is not what its Content-Encoding says") from None
    if len(content) > largest:
        raise HTTPException(413)
    if not stream.eof or stream.unused_data:
        raise ProtocolInvalid("the body is not one whole compressed stream")
    return content
