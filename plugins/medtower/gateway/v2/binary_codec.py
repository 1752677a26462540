"""The binary tensor extension (https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md): the JSON header first,
then each tensor's numbers as little-endian bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

from medtower.domain.inference import TENSOR_IN
from medtower.errors import ProtocolInvalid
from medtower.gateway.v2.types import InferRequest

HEADER_LENGTH = b"inference-header-content-length"
FP32 = 4


def split(body: bytes, announced: bytes | None) -> tuple[bytes | memoryview, memoryview]:
    """The JSON header of `body` and what follows it, by the header Inference-Header-Content-Length. Raises ProtocolInvalid."""
    if announced is None:
        return body, memoryview(b"")
    if not announced.isdigit() or len(announced) > 10 or (length := int(announced)) > len(body):
        raise ProtocolInvalid("Inference-Header-Content-Length is not a length within the body")
    view = memoryview(body)
    return view[:length], view[length:]


def tensors(request: InferRequest, tail: memoryview) -> list[memoryview | None]:
    """The bytes of each input, None for one that came as JSON. Raises ProtocolInvalid unless they use up `tail` exactly."""
    found: list[memoryview | None] = []
    start = 0
    for tensor in request.inputs:
        size = tensor.parameters.binary_data_size if tensor.parameters else None
        if size is None:
            found.append(None)
            continue
        if tensor.data is not None:
            raise ProtocolInvalid(f"input {len(found)} has both data and parameters.binary_data_size")
        found.append(tail[start : start + size])
        start += size
    if start != len(tail):
        raise ProtocolInvalid("the binary_data_size of the inputs and the bytes after the JSON header differ")
    return found


def rows(content: bytes | memoryview, n: int, width: int) -> Sequence[Sequence[float]]:
    """The rows [n][width] in `content`, FP32 little-endian. Raises ProtocolInvalid when it has another size."""
    if len(content) != n * width * FP32:
        raise ProtocolInvalid(f"the input {TENSOR_IN} must have 4 bytes for each number of its shape")
    return list(_row(width).iter_unpack(content))


def numbers(values: Sequence[float]) -> bytes:
    """`values` as FP32 little-endian."""
    return struct.pack(f"<{len(values)}f", *values)


@lru_cache(maxsize=256)
def _row(width: int) -> struct.Struct:
    return struct.Struct(f"<{width}f")
