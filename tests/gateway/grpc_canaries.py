"""Canaries through every method of the gRPC port: good questions, broken ones, and words where nobody looks for words."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc
from tests.gateway.conftest import KEY
from tritonclient.grpc import service_pb2 as v2

MODEL, SERVICE = "demo_risk", "inference.GRPCInferenceService"


def replies(port: int, row: Sequence[float], canary: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What came back of each call, as (method and status, text). `canary` has words for value, number, subject, name and path."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        good = asked(row, canary["subject"], "grpc-good")
        answer = _call(channel, "ModelInfer", good.SerializeToString(), canary)
        assert answer[0] == "ModelInfer OK", answer
        yield answer
        for content in _bad(row, canary):
            refused = _call(channel, "ModelInfer", content, canary)
            assert refused[0] != "ModelInfer OK", refused
            yield refused
            yield _call(channel, "ModelStreamInfer", content, canary)
        yield _call(channel, "ModelStreamInfer", good.SerializeToString(), canary)
        yield from _descriptions(channel, canary)


def asked(row: Sequence[float], subject: str, request_id: str) -> Any:
    """A ModelInferRequest of one row."""
    message = v2.ModelInferRequest(model_name=MODEL, id=request_id)
    message.parameters["subject_id"].string_param = subject
    message.inputs.add(name="features", datatype="FP32", shape=[1, len(row)])
    message.raw_input_contents.append(struct.pack(f"<{len(row)}f", *row))
    return message


def _bad(row: Sequence[float], canary: Mapping[str, str]) -> Iterator[bytes]:
    def changed(**changes: Any) -> Any:
        message = asked(row, canary["subject"], "grpc-bad")
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    out_of_range = [float(canary["number"]), *row[1:]]
    named, typed, shaped, parameter, output, second = (changed() for _ in range(6))
    named.inputs[0].name = canary["value"]
    typed.inputs[0].datatype = canary["value"]
    shaped.inputs[0].shape[1] = int(canary["number"])
    parameter.parameters["sequence_id"].string_param = canary["value"]
    output.outputs.add(name=canary["value"])
    second.inputs.add(name=canary["value"], datatype="BYTES", shape=[1])
    for message in (
        asked(out_of_range, canary["subject"], "grpc-value"),
        asked(row, f" {canary['subject']}", "grpc-subject"),
        asked(row, canary["subject"], f"{canary['name']} {canary['number']}"),
        changed(model_name=canary["path"]),
        changed(model_version=canary["value"]),
        named, typed, shaped, parameter, output, second,
    ):  # fmt: skip
        yield message.SerializeToString()
    yield canary["value"].encode() + b"\xff"


def _descriptions(channel: grpc.Channel, canary: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for method, message in (
        ("ModelMetadata", v2.ModelMetadataRequest(name=canary["path"])),
        ("ModelConfig", v2.ModelConfigRequest(name=canary["path"], version=canary["value"])),
        ("ModelReady", v2.ModelReadyRequest(name=canary["path"])),
        ("ModelStatistics", v2.ModelStatisticsRequest(name=canary["path"])),
        ("RepositoryIndex", v2.RepositoryIndexRequest(repository_name=canary["path"])),
        ("RepositoryModelLoad", v2.RepositoryModelLoadRequest(model_name=canary["path"])),
    ):
        yield _call(channel, method, message.SerializeToString(), canary)
    yield _call(channel, canary["path"], b"", canary)
    yield _call(channel, "ModelInfer", b"", canary, key=f"mt_{canary['value']}_{canary['name']}")


def _call(
    channel: grpc.Channel, method: str, content: bytes, canary: Mapping[str, str], *, key: str = KEY
) -> tuple[str, str]:
    """The status and all that was said: the message's bytes, or the details, and the metadata that came along."""
    metadata = (("x-api-key", key), ("x-patient", canary["name"]), ("traceparent", canary["value"]))
    options = {"metadata": metadata, "timeout": 20}
    path = f"/{SERVICE}/{method}"
    try:
        if method == "ModelStreamInfer":
            call = channel.stream_stream(path)(iter([content]), **options)
            said = b"".join(call)
        else:
            said, call = channel.unary_unary(path).with_call(content, **options)
    except grpc.RpcError as error:
        call, said = error, b""
    trailing = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
    place = method if method != canary["path"] else "an unknown method"
    return f"{place} {call.code().name}", f"{said.decode('utf-8', 'replace')} {call.details()} {trailing}"
