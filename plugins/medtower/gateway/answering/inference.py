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
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import DeadlineExceeded, ModelMisbehaved, NotFound, Unavailable
from medtower.gateway.answering.batches import Batches

DEADLINE = 2.0
CONNECTIONS = 64
BINARY_HEADER = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    header_length: int | None
    content: bytes


class Triton:
    """A client of the server at `url` (host:port). It always names the version: an unversioned request goes to whatever was loaded last."""

    def __init__(self, url: str, *, deadline: float = DEADLINE, connections: int = CONNECTIONS) -> None:
        self.deadline = deadline
        self.batches = Batches(self._send)
        self._base = url if "://" in url else f"http://{url}"
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def infer(
        self, model: str, version: int, row: array[float], *, seconds: float | None = None
    ) -> float:
        """The prediction for `row` (float32 [inputs], NaN = missing), within `seconds` (the client's deadline when None).

        Raises NotFound when Triton does not serve the version (it took nothing, so another version may be tried), Unavailable when it
        cannot be reached, DeadlineExceeded when it does not answer in time, ModelMisbehaved when what comes back is no finite float32.
        """
        limit = self.deadline if seconds is None else seconds
        value = await self.batches.infer(model, version, row, limit)
        if not math.isfinite(value):
            raise ModelMisbehaved(model, version, "the answer is not a finite number")
        return value

    async def ready(self) -> bool:
        """Whether the server says it is ready; half a second is all it gets."""
        try:
            async with asyncio.timeout(0.5), self._http().get("/v2/health/ready") as reply:
                return reply.status == 200
        except (TimeoutError, aiohttp.ClientError):
            return False

    async def close(self) -> None:
        await self.batches.close()
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, model: str, version: int, rows: Sequence[array[float]], seconds: float
    ) -> Sequence[float]:
        header = _header(len(rows), len(rows[0]))
        path = f"/v2/models/{model}/versions/{version}/infer"
        reply = await self._post(path, header + b"".join(map(_little_endian, rows)), len(header), seconds)
        if reply.status != 200:
            raise _refusal(model, version, reply)
        try:
            return _predictions(reply, len(rows))
        except (ValueError, KeyError, TypeError, IndexError, struct.error):
            raise ModelMisbehaved(model, version, "the answer is not one float32 a row") from None

    async def _post(self, path: str, content: bytes, header_length: int, seconds: float) -> _Reply:
        headers = {BINARY_HEADER: str(header_length), "Content-Type": "application/octet-stream"}
        try:
            async with (
                asyncio.timeout(seconds),
                self._http().post(path, data=content, headers=headers) as reply,
            ):
                length = reply.headers.get(BINARY_HEADER)
                return _Reply(reply.status, int(length) if length else None, await reply.read())
        except TimeoutError:
            raise DeadlineExceeded("Triton", round(seconds, 3)) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise Unavailable("Triton", f"no answer ({type(error).__name__})") from None

    def _http(self) -> aiohttp.ClientSession:
        """Made at the first call: it belongs to the event loop that runs then. No proxy of the environment sees a patient's row, no cookie is kept."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                self._base,
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=["Accept", "Accept-Encoding", "User-Agent"],  # 150 bytes are not worth gzip
                trust_env=False,
            )
        return self._session


def _header(rows: int, inputs: int) -> bytes:
    tensor = {
        "name": TENSOR_IN,
        "shape": [rows, inputs],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * rows * inputs},
    }
    wanted = {"name": TENSOR_OUT, "parameters": {"binary_data": True}}
    return json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()


def _little_endian(row: array[float]) -> bytes:
    return struct.pack(f"<{len(row)}f", *row)


def _refusal(model: str, version: int, reply: _Reply) -> Exception:
    if reply.status in (400, 404) and b"unknown model" in reply.content:
        return NotFound(f"{model} {version}", "Triton")
    if reply.status == 503:
        return Unavailable("Triton", "it answered 503")
    return ModelMisbehaved(model, version, f"Triton answered {reply.status}")


def _predictions(reply: _Reply, rows: int) -> Sequence[float]:
    length = len(reply.content) if reply.header_length is None else reply.header_length
    (output,) = json.loads(reply.content[:length])["outputs"]
    if (output["name"], output["shape"], output["datatype"]) != (TENSOR_OUT, [rows, 1], "FP32"):
        raise ValueError(TENSOR_OUT)
    if "data" not in output:
        return struct.unpack(f"<{rows}f", reply.content[length:])
    values = [float(value) for value in output["data"]]
    if len(values) != rows:
        raise ValueError(TENSOR_OUT)
    return values
