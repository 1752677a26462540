"""Triton over HTTP: the Open Inference Protocol V2 with its binary tensor extension
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).

Binary, because a missing value travels as NaN and JSON has none.
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Awaitable, Sequence
from functools import lru_cache

from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import DeadlineExceeded, ModelMisbehaved, NotFound, Unavailable
from medtower.gateway.answering.batches import Batches
from medtower.gateway.answering.connections import Connections, Reply

DEADLINE = 2.0
CONNECTIONS = 64
NONSENSE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
    struct.error,
)
READY_SECONDS = 0.5
BINARY = {"Content-Type": "application/octet-stream"}
HEADER_LENGTH = b"inference-header-content-length"


class _AnotherAnswer(Exception):
    """The reply has another id than the request."""


class Triton:
    """A client of the server at `url` (host:port). It always names the version: an unversioned request goes to whatever was loaded last."""

    def __init__(self, url: str, *, deadline: float = DEADLINE, connections: int = CONNECTIONS) -> None:
        self.deadline = deadline
        self.batches = Batches(self._send)
        self._connections = Connections("Triton", url, limit=connections)
        self._asked = 0

    def infer(
        self, model: str, version: int, row: array[float], *, seconds: float | None = None
    ) -> Awaitable[float]:
        """The prediction for `row` (float32 [inputs], NaN = missing), within `seconds` (the client's deadline when None).

        Raises NotFound when Triton does not serve the version (it took nothing, so another version may be tried), Unavailable when it
        cannot be reached, DeadlineExceeded when it does not answer in time, ModelMisbehaved when what comes back is no finite float32.
        """
        return self.batches.infer(model, version, row, self.deadline if seconds is None else seconds)

    async def ready(self) -> bool:
        """Whether the server says it is ready; half a second is all it gets."""
        try:
            reply = await self._connections.request("GET", "/v2/health/ready", seconds=READY_SECONDS)
        except (Unavailable, DeadlineExceeded):
            return False
        return reply.status == 200

    async def close(self) -> None:
        await self.batches.close()
        self._connections.close()

    async def _send(
        self, model: str, version: int, rows: Sequence[array[float]], seconds: float
    ) -> Sequence[float]:
        self._asked += 1
        asked = str(self._asked)
        header = b'{"id":"%s",' % asked.encode() + _header(len(rows), len(rows[0]))
        reply = await self._connections.request(
            "POST",
            f"/v2/models/{model}/versions/{version}/infer",
            headers={"Inference-Header-Content-Length": str(len(header)), **BINARY},
            content=header + b"".join(map(_little_endian, rows)),
            seconds=seconds,
        )
        if reply.status != 200:
            raise _refusal(model, version, reply)
        try:
            return _predictions(reply, len(rows), asked)
        except _AnotherAnswer:
            reply.spoil()
            raise Unavailable("Triton", "it answered another question") from None
        except NONSENSE:
            raise ModelMisbehaved(model, version, "the answer is not one float32 a row") from None


@lru_cache(256)
def _header(rows: int, inputs: int) -> bytes:
    tensor = {
        "name": TENSOR_IN,
        "shape": [rows, inputs],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * rows * inputs},
    }
    wanted = {"name": TENSOR_OUT, "parameters": {"binary_data": True}}
    return json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode().removeprefix(b"{")


def _little_endian(row: array[float]) -> bytes:
    return struct.pack(f"<{len(row)}f", *row)


def _refusal(model: str, version: int, reply: Reply) -> Exception:
    if reply.status in (400, 404) and b"unknown model" in reply.content:
        return NotFound(f"{model} {version}", "Triton")
    if reply.status == 503:
        return Unavailable("Triton", "it answered 503")
    return ModelMisbehaved(model, version, f"Triton answered {reply.status}")


def _predictions(reply: Reply, rows: int, asked: str) -> Sequence[float]:
    length = int(reply.headers.get(HEADER_LENGTH, len(reply.content)))
    answer = json.loads(reply.content[:length])
    if answer.get("id") != asked:  # one that came too late over the same connection
        raise _AnotherAnswer
    (output,) = answer["outputs"]
    if (output["name"], output["shape"], output["datatype"]) != (TENSOR_OUT, [rows, 1], "FP32"):
        raise ValueError(TENSOR_OUT)
    if "data" not in output:
        return struct.unpack(f"<{rows}f", reply.content[length:])
    values = [float(value) for value in output["data"]]
    if len(values) != rows:
        raise ValueError(TENSOR_OUT)
    return values
