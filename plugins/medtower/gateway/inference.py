"""Triton over HTTP: the Open Inference Protocol V2 with its binary tensor extension
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).

Binary, because a missing value travels as NaN and JSON has none.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from array import array
from typing import Any

import httpx

from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import DeadlineExceeded, ModelMisbehaved, NotFound, Unavailable

DEADLINE = 2.0
CONNECTIONS = 64
BINARY_HEADER = "Inference-Header-Content-Length"


class Triton:
    """A client of the server at `url` (host:port). It always names the version: an unversioned request goes to whatever was loaded last."""

    def __init__(self, url: str, *, deadline: float = DEADLINE, connections: int = CONNECTIONS) -> None:
        self.deadline = deadline
        base = url if "://" in url else f"http://{url}"
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        # trust_env: a proxy for the outside world must never see a patient's row
        self._http = httpx.AsyncClient(base_url=base, limits=limits, timeout=deadline, trust_env=False)

    async def infer(
        self, model: str, version: int, row: array[float], *, seconds: float | None = None
    ) -> float:
        """The prediction for `row` (float32 [inputs], NaN = missing), within `seconds` (the client's deadline when None).

        Raises NotFound when Triton does not serve the version (it took nothing, so another version may be tried), Unavailable when it
        cannot be reached, DeadlineExceeded when it does not answer in time, ModelMisbehaved when what comes back is no finite [1, 1] float32.
        """
        header = json.dumps(_request(len(row))).encode()
        path = f"/v2/models/{model}/versions/{version}/infer"
        limit = self.deadline if seconds is None else seconds
        reply = await self._post(path, header + _little_endian(row), len(header), limit)
        if reply.status_code != 200:
            raise _refusal(model, version, reply)
        try:
            value = _prediction(reply)
        except (ValueError, KeyError, TypeError, IndexError, struct.error):
            raise ModelMisbehaved(model, version, "the answer is not one float32 [1, 1]") from None
        if not math.isfinite(value):
            raise ModelMisbehaved(model, version, "the answer is not a finite number")
        return value

    async def ready(self) -> bool:
        """Whether the server says it is ready; half a second is all it gets."""
        try:
            return (await self._http.get("/v2/health/ready", timeout=0.5)).status_code == 200
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        await self._http.aclose()

    async def _post(self, path: str, content: bytes, header_length: int, seconds: float) -> httpx.Response:
        headers = {BINARY_HEADER: str(header_length), "Content-Type": "application/octet-stream"}
        try:
            async with asyncio.timeout(seconds):
                return await self._http.post(path, content=content, headers=headers)
        except (TimeoutError, httpx.TimeoutException):
            raise DeadlineExceeded("Triton", round(seconds, 3)) from None
        except httpx.HTTPError as error:
            raise Unavailable("Triton", f"no answer ({type(error).__name__})") from None


def _request(inputs: int) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": TENSOR_IN,
                "shape": [1, inputs],
                "datatype": "FP32",
                "parameters": {"binary_data_size": 4 * inputs},
            }
        ],
        "outputs": [{"name": TENSOR_OUT, "parameters": {"binary_data": True}}],
    }


def _little_endian(row: array[float]) -> bytes:
    return struct.pack(f"<{len(row)}f", *row)


def _refusal(model: str, version: int, reply: httpx.Response) -> Exception:
    if reply.status_code in (400, 404) and b"unknown model" in reply.content:
        return NotFound(f"{model} {version}", "Triton")
    if reply.status_code == 503:
        return Unavailable("Triton", "it answered 503")
    return ModelMisbehaved(model, version, f"Triton answered {reply.status_code}")


def _prediction(reply: httpx.Response) -> float:
    length = int(reply.headers.get(BINARY_HEADER, len(reply.content)))
    (output,) = json.loads(reply.content[:length])["outputs"]
    if (output["name"], output["shape"], output["datatype"]) != (TENSOR_OUT, [1, 1], "FP32"):
        raise ValueError(TENSOR_OUT)
    if "data" in output:
        (value,) = output["data"]
        return float(value)
    (value,) = struct.unpack("<f", reply.content[length:])
    return float(value)
