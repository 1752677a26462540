"""V2 over gRPC: protobuf messages to questions, and answers to messages (KServe's open_inference_grpc.proto, as Triton's stubs extend it).

This module imports grpc and numpy through those stubs, so it is imported only where a gRPC port is set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as v2

from medtower.domain.access import Caller
from medtower.domain.contract import Contract
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.domain.routing import Route, RoutingTable
from medtower.errors import ProtocolInvalid
from medtower.gateway.answering.answer import Answer
from medtower.gateway.rest.body import subject
from medtower.gateway.v2 import binary_codec, metadata, requests, responses
from medtower.gateway.v2.types import Number, Question

CONTENTS = ("bool", "int", "int64", "uint", "uint64", "fp64", "bytes")


def parsed(kind: str, content: bytes) -> Any:
    """The message called `kind` in `content`. Raises ProtocolInvalid."""
    try:
        return getattr(v2, kind).FromString(content)
    except (DecodeError, RecursionError):
        raise ProtocolInvalid(f"the message is no {kind}") from None


def question(message: Any, width: int, version: int, left: float | None) -> Question:
    """The question in a ModelInferRequest to a model of `width` inputs; `left` seconds remain to the call, None for no limit. Raises ProtocolInvalid, and
    FeatureInvalid for an id or a subject that is none."""
    parameters = {name: _value(parameter) for name, parameter in message.parameters.items()}
    requests.stateless(
        parameters.get("sequence_id"),
        bool(parameters.get("sequence_start") or parameters.get("sequence_end")),
    )
    _outputs(message.outputs)
    patient = parameters.get("subject_id")
    return Question(
        id=requests.checked_id(message.id),
        chosen_id=message.id != "",
        rows=_rows(message, width),
        version=version,
        subject_id=None if patient is None else subject(patient),
        binary=True,
        seconds=_shorter(requests.seconds(_microseconds(parameters.get("timeout"))), left),
    )


def answer(model: str, asked: Question, found: Sequence[Answer]) -> Any:
    """The ModelInferResponse; its numbers are bytes, as Triton's are."""
    values = [each.prediction for each in found]
    message = v2.ModelInferResponse(
        model_name=model,
        model_version=responses.version(found),
        id=asked.id,
        outputs=[
            v2.ModelInferResponse.InferOutputTensor(
                name=TENSOR_OUT, datatype=requests.DATATYPE, shape=[len(values), 1]
            )
        ],
        raw_output_contents=[binary_codec.numbers(values)],
    )
    for name, value in responses.parameters(found).items():
        _say(message.parameters[name], value)
    return message


def model_metadata(route: Route, contract: Contract) -> Any:
    return v2.ModelMetadataResponse(**metadata.model(route, contract))


def model_config(route: Route, contract: Contract) -> Any:
    return json_format.ParseDict({"config": metadata.config(route, contract)}, v2.ModelConfigResponse())


def index(table: RoutingTable, caller: Caller, *, ready: bool) -> Any:
    return v2.RepositoryIndexResponse(models=metadata.index(table, caller, ready=ready))


def _rows(message: Any, width: int) -> Sequence[Sequence[Number]]:
    if len(message.inputs) != 1:
        raise ProtocolInvalid(f"there must be one input, {TENSOR_IN}")
    tensor, raw = message.inputs[0], message.raw_input_contents
    if "shared_memory_region" in tensor.parameters:
        raise ProtocolInvalid("shared memory is not offered; send the numbers")
    n = requests.row_count(tensor.name, tensor.datatype, tensor.shape, width)
    if any(getattr(tensor.contents, f"{kind}_contents") for kind in CONTENTS):
        raise ProtocolInvalid(f"the input {TENSOR_IN} must come in fp32_contents or raw_input_contents")
    numbers = tensor.contents.fp32_contents
    if not raw:
        if len(numbers) != n * width:
            raise ProtocolInvalid(f"the input {TENSOR_IN} must have as many numbers as its shape says")
        return [numbers[start : start + width] for start in range(0, n * width, width)]
    if numbers or len(raw) != 1:
        raise ProtocolInvalid("raw_input_contents must hold one entry for each input, and nothing else may")
    return binary_codec.rows(raw[0], n, width)


def _outputs(outputs: Sequence[Any]) -> None:
    if len(outputs) > 1:
        raise ProtocolInvalid(f"the only output is {TENSOR_OUT}, once")
    for output in outputs:
        requests.known_output(output.name)
        if "classification" in output.parameters or "shared_memory_region" in output.parameters:
            raise ProtocolInvalid("classification and shared memory are not offered; leave them out")


def _value(parameter: Any) -> Any:
    chosen = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, chosen) if chosen else None


def _say(parameter: Any, value: str | float | bool) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    else:
        parameter.double_param = value


def _microseconds(timeout: Any) -> int:
    if timeout is None:
        return 0
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise ProtocolInvalid("the parameter timeout must be a whole number of microseconds")
    return timeout


def _shorter(one: float | None, other: float | None) -> float | None:
    given = [seconds for seconds in (one, other) if seconds is not None]
    return min(given) if given else None
