"""From a V2 request to what is asked: tensors to rows of numbers, checked against what the model takes."""

from __future__ import annotations

from collections.abc import Sequence

from medtower.domain import request_id as request_ids
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import ProtocolInvalid
from medtower.gateway.rest.body import chosen_id, subject
from medtower.gateway.v2 import binary_codec, json_codec
from medtower.gateway.v2.types import (
    MOST_ROWS,
    InferRequest,
    OutputTensor,
    Question,
    RequestParameters,
    TensorParameters,
)

DATATYPE = "FP32"
MICROSECONDS = 1e6
_NO_PARAMETERS, _NO_TENSOR_PARAMETERS = RequestParameters(), TensorParameters()


def question(body: bytes, header_length: bytes | None, width: int, version: int = 0) -> Question:
    """The question in an HTTP `body` to a model of `width` inputs. Raises ProtocolInvalid, and FeatureInvalid for an id or a subject that is none."""
    header, tail = binary_codec.split(body, header_length)
    request = json_codec.decode(header)
    contents = binary_codec.tensors(request, tail)
    if len(request.inputs) != 1:
        raise ProtocolInvalid(f"there must be one input, {TENSOR_IN}")
    tensor, content = request.inputs[0], contents[0]
    if tensor.parameters is not None and tensor.parameters.shared_memory_region is not None:
        raise ProtocolInvalid("shared memory is not offered; send the numbers")
    n = row_count(tensor.name, tensor.datatype, tensor.shape, width)
    rows = json_codec.rows(tensor, n, width) if content is None else binary_codec.rows(content, n, width)
    parameters = request.parameters or _NO_PARAMETERS
    stateless(parameters.sequence_id, parameters.sequence_start or parameters.sequence_end)
    return Question(
        id=checked_id(request.id),
        chosen_id=request.id != "",
        rows=rows,
        version=version,
        subject_id=None if parameters.subject_id is None else subject(parameters.subject_id),
        binary=_binary(request, parameters),
        seconds=seconds(parameters.timeout or 0),
    )


def row_count(name: str, datatype: str, shape: Sequence[int], width: int) -> int:
    """The number of rows of the input. Raises ProtocolInvalid unless it is what the model takes."""
    if name != TENSOR_IN:
        raise ProtocolInvalid(f"the input must have the name {TENSOR_IN}")
    if datatype != DATATYPE:
        raise ProtocolInvalid(f"the input {TENSOR_IN} must have the datatype {DATATYPE}")
    if len(shape) != 2 or shape[1] != width:
        raise ProtocolInvalid(f"the input {TENSOR_IN} must have the shape [rows, {width}]")
    if not 0 < shape[0] <= MOST_ROWS:
        raise ProtocolInvalid(f"the input {TENSOR_IN} must have 1 to {MOST_ROWS} rows")
    return shape[0]


def checked_id(given: str) -> str:
    """`given` when it is a request id, a new one for an empty one. Raises FeatureInvalid, and Conflict for an id that only the gateway gives."""
    return chosen_id(given, "id") if given else request_ids.new()


def stateless(sequence_id: int | str | None, begins_or_ends: bool) -> None:
    """Raises ProtocolInvalid for a request of a sequence: every answer stands for itself."""
    if sequence_id or begins_or_ends:
        raise ProtocolInvalid("sequences are not offered: no model here has a state")


def seconds(microseconds: int) -> float | None:
    """The parameter `timeout` in seconds; 0 is none."""
    return microseconds / MICROSECONDS or None


def known_output(name: str) -> None:
    """Raises ProtocolInvalid when the model has no such output."""
    if name != TENSOR_OUT:
        raise ProtocolInvalid(f"the only output is {TENSOR_OUT}")


def only_ready(body: bytes) -> bool:
    """What the body of a request for the repository's index asks. Raises ProtocolInvalid."""
    return bool(body) and json_codec.decode_index(body).ready


def _binary(request: InferRequest, parameters: RequestParameters) -> bool:
    """Whether the output is wanted as bytes."""
    if not request.outputs:
        return parameters.binary_data_output
    if len(request.outputs) > 1:
        raise ProtocolInvalid(f"the only output is {TENSOR_OUT}, once")
    wanted = _checked(request.outputs[0]).binary_data
    return parameters.binary_data_output if wanted is None else wanted


def _checked(output: OutputTensor) -> TensorParameters:
    known_output(output.name)
    parameters = output.parameters or _NO_TENSOR_PARAMETERS
    if parameters.classification is not None or parameters.shared_memory_region is not None:
        raise ProtocolInvalid("classification and shared memory are not offered; leave them out")
    return parameters
