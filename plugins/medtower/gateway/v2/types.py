"""The messages of the Open Inference Protocol V2, as far as the gateway speaks it
(https://github.com/triton-inference-server/server/tree/main/docs/protocol).

What a message has beyond these fields is ignored, as the protocol asks of a server that does not know an extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

MOST_ROWS = 128
LONGEST = 2**31
Dimension = Annotated[int, msgspec.Meta(ge=-1, le=LONGEST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=LONGEST)]
Number = float | None


class TensorParameters(msgspec.Struct, omit_defaults=True):
    """Of one input or output. `classification` and shared memory are extensions that the gateway does not have; it looks for them to say so."""

    binary_data_size: Count | None = None
    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class InputTensor(msgspec.Struct):
    """`data` is flat or nested by row; null is a missing value, which JSON's numbers cannot say."""

    name: str
    shape: list[Dimension]
    datatype: str
    parameters: TensorParameters | None = None
    data: list[float | list[Number] | None] | None = None


class OutputTensor(msgspec.Struct):
    name: str
    parameters: TensorParameters | None = None


class RequestParameters(msgspec.Struct):
    """`subject_id` is ours: the patient, so that a rollout's arm stays the same. `timeout` is in microseconds."""

    subject_id: str | None = None
    binary_data_output: bool = False
    sequence_id: int | str | None = None
    sequence_start: bool = False
    sequence_end: bool = False
    timeout: Count | None = None


class InferRequest(msgspec.Struct):
    inputs: list[InputTensor]
    id: str = ""
    outputs: list[OutputTensor] | None = None
    parameters: RequestParameters | None = None


class IndexRequest(msgspec.Struct):
    """Of the repository's index: all models, or only what is `ready`."""

    ready: bool = False


class OutputData(msgspec.Struct, omit_defaults=True):
    """One output of an answer: `data` in JSON, or the number of bytes that follow the header."""

    name: str
    datatype: str
    shape: list[int]
    parameters: TensorParameters | None = None
    data: list[float] | None = None


class InferResponse(msgspec.Struct, omit_defaults=True):
    """`model_version` is empty when the rows were answered by different versions."""

    model_name: str
    id: str
    parameters: dict[str, str | float | bool]
    outputs: list[OutputData]
    model_version: str = ""


class Question(msgspec.Struct, frozen=True):
    """One request as both transports understand it. `chosen_id`: the caller chose the id, so it may come again. `rows` [n][width] are numbers in the order of the contract, None or NaN for missing; `version` is
    the one that the caller pinned, 0 for none; `binary` is how the output is to be sent; `seconds` is what the caller gives it, None for no limit."""

    id: str
    chosen_id: bool
    rows: Sequence[Sequence[Number]]
    version: int = 0
    subject_id: str | None = None
    binary: bool = False
    seconds: float | None = None
