"""A small server that speaks the Open Inference Protocol's binary extension, and fails in every way that is asked of it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

HEADER = "Inference-Header-Content-Length"


@dataclass
class FakeTriton:
    """`versions` are served, `value` is answered; `fault` is one of nan, infinite, shape, name, two, text, empty, json, hang, 500, 503."""

    versions: set[int] = field(default_factory=lambda: {1, 2})
    value: float = 0.75
    fault: str = ""
    # of one version alone, where it differs
    faults: dict[int, str] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    rows: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    # rows a request
    batches: list[int] = field(default_factory=list)
    # called with the version that was asked for before it is looked up
    before: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        body = await _body(receive)
        if scope["path"] == "/v2/health/ready":
            return await _reply(send, 200 if not self.fault else 400, b"")
        version = int(scope["path"].split("/")[5])
        self.asked.append(version)
        if self.before:
            self.before(version)
        return await self._infer(receive, send, version, dict(scope["headers"]), body)

    async def _infer(
        self, receive: Any, send: Any, version: int, headers: dict[bytes, bytes], body: bytes
    ) -> None:
        fault = self.faults.get(version, self.fault)
        if fault == "hang":
            while (await receive())["type"] != "http.disconnect":
                continue
            return None
        if fault in ("500", "503"):
            return await _reply(send, int(fault), b'{"error": "no"}')
        if version not in self.versions:
            error = f"Request for unknown model: 'demo_risk' version {version} is not found"
            return await _reply(send, 404, json.dumps({"error": error}).encode())
        length = int(headers[HEADER.lower().encode()])
        asked = json.loads(body[:length])
        (tensor,) = asked["inputs"]
        rows = list(struct.iter_unpack(f"<{tensor['shape'][1]}f", body[length:]))
        self.batches.append(len(rows))
        self.rows += [(version, row) for row in rows]
        said = {"id": "another's" if fault == "another's" else asked["id"]}
        return await self._answer(send, fault, self.values.get(version, self.value), len(rows), said)

    async def _answer(self, send: Any, fault: str, good: float, rows: int, said: dict[str, Any]) -> None:
        value = {"nan": float("nan"), "infinite": float("inf")}.get(fault, good)
        output: dict[str, Any] = {"name": "prediction", "datatype": "FP32", "shape": [rows, 1]}
        if fault == "text":
            return await _reply(send, 200, b"<html>a proxy says hello</html>")
        if fault == "json":
            output["data"] = [value] * rows
            return await _reply(send, 200, json.dumps(said | {"outputs": [output]}).encode())
        if fault == "shape":
            output["shape"] = [rows, 2]
        if fault == "name":
            output["name"] = "other"
        outputs = [output, output] if fault == "two" else [output]
        header = json.dumps(said | {"outputs": outputs}).encode()
        tensor = b"" if fault == "empty" else struct.pack("<f", value) * rows
        return await _reply(send, 200, header + tensor, (HEADER.encode(), str(len(header)).encode()))


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def _reply(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})
