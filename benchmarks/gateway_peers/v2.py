"""The Open Inference Protocol V2 from the caller's side: the same bytes for raw Triton, for the gateway and for MLServer."""

from __future__ import annotations

import json
import struct

import httpx
from benchmarks.gateway_peers.network import MODEL, Network

from medtower.adapters.triton import HEADER_LENGTH, request
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT

PATH = f"/v2/models/{MODEL}/infer"
JSON = {"Content-Type": "application/json"}


def json_bodies(network: Network) -> list[bytes]:
    """One row each, as JSON."""
    return [
        json.dumps(
            {
                "inputs": [
                    {
                        "name": TENSOR_IN,
                        "shape": [1, len(row)],
                        "datatype": "FP32",
                        "data": [round(float(value), 3) for value in row],
                    }
                ]
            }
        ).encode()
        for row in network.rows
    ]


def read_json(answer: httpx.Response) -> float:
    """The one number of the output tensor."""
    (output,) = answer.json()["outputs"]
    (value,) = output["data"]
    return float(value[0] if isinstance(value, list) else value)


def binary(network: Network) -> tuple[dict[str, str], list[bytes]]:
    """The headers, which are the same for every row, and one row each in the binary tensor extension."""
    made = [request([row.tolist()]) for row in network.rows]
    (headers,) = {tuple(sorted(headers.items())) for headers, _ in made}
    return dict(headers), [body for _, body in made]


def read_binary(answer: httpx.Response) -> float:
    """The one float32 behind the JSON of the answer."""
    (value,) = struct.unpack("<f", answer.content[int(answer.headers[HEADER_LENGTH]) :])
    return float(value)


def grpc_requests(network: Network) -> list[bytes]:
    """One row each as a serialised ModelInferRequest, its tensor as raw bytes."""
    from tritonclient.grpc import service_pb2

    made = []
    for row in network.rows:
        message = service_pb2.ModelInferRequest(
            model_name=MODEL, raw_input_contents=[row.astype("<f4").tobytes()]
        )
        message.inputs.add(name=TENSOR_IN, datatype="FP32", shape=[1, len(row)])
        message.outputs.add(name=TENSOR_OUT)
        made.append(message.SerializeToString())
    return made


def read_grpc(answer: bytes) -> float:
    """The one number of the output tensor, raw or typed."""
    from tritonclient.grpc import service_pb2

    message = service_pb2.ModelInferResponse.FromString(answer)
    if message.raw_output_contents:
        (value,) = struct.unpack("<f", message.raw_output_contents[0])
    else:
        (value,) = message.outputs[0].contents.fp32_contents
    return float(value)
