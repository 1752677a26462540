"""V2 messages as JSON: bytes in, typed and bounded; bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec

from medtower.domain.inference import TENSOR_IN
from medtower.errors import ProtocolInvalid
from medtower.gateway.v2.types import IndexRequest, InferRequest, InputTensor, Number

T = TypeVar("T")
_requests, _indexes = msgspec.json.Decoder(InferRequest), msgspec.json.Decoder(IndexRequest)
_encoder = msgspec.json.Encoder()
encode = _encoder.encode


def decode(header: bytes | memoryview) -> InferRequest:
    """The request in `header`. Raises ProtocolInvalid; it names places and types, never what stands there."""
    return _decoded(_requests, header)


def decode_index(body: bytes) -> IndexRequest:
    """The request for an index in `body`. Raises ProtocolInvalid."""
    return _decoded(_indexes, body)


def _decoded(decoder: msgspec.json.Decoder[T], content: bytes | memoryview) -> T:
    try:
        return decoder.decode(content)
    except msgspec.MsgspecError as error:  # its text knows field names of ours, types and positions only
        raise ProtocolInvalid(f"the body is not a message of the protocol: {error}") from None
    except RecursionError:
        raise ProtocolInvalid("the body is nested too deeply") from None
    except ValueError:  # not UTF-8; the error's own text holds bytes of it
        raise ProtocolInvalid("the body is not a JSON document in UTF-8") from None


def rows(tensor: InputTensor, n: int, width: int) -> Sequence[Sequence[Number]]:
    """The rows [n][width] of `tensor.data`, which is flat or one list a row. Raises ProtocolInvalid."""
    data = tensor.data
    if data is None:
        raise ProtocolInvalid(f"the input {TENSOR_IN} has neither data nor parameters.binary_data_size")
    if data and isinstance(data[0], list):
        return _nested(cast("list[Any]", data), n, width)
    if len(data) != n * width or list in map(type, data):
        raise ProtocolInvalid(f"the input {TENSOR_IN} must have as many numbers as its shape says")
    flat = cast("list[Number]", data)
    return [flat] if n == 1 else [flat[start : start + width] for start in range(0, n * width, width)]


def _nested(data: list[Any], n: int, width: int) -> list[list[Number]]:
    if len(data) != n or any(type(row) is not list or len(row) != width for row in data):
        raise ProtocolInvalid(f"the input {TENSOR_IN} must have one list of numbers a row, as its shape says")
    return data
