"""Triton over HTTP: the V2 inference protocol with binary tensors (JSON has no NaN), and what it says of its models.

Written by hand on httpx: two tensors of float32 need no client library.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Self

import httpx

from medtower.adapters.triton_control import ModelControl
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import DeadlineExceeded, ModelMisbehaved, Unavailable

PART = "Triton"
READY = "READY"
HEADER_LENGTH = "Inference-Header-Content-Length"


class Triton:
    """One server at `url` (host:port), whose models are controlled at `grpc_url`. Thread-safe; connections are kept. `timeout` in seconds for
    inference, `load_timeout` for control."""

    def __init__(
        self,
        url: str,
        admin_key: str = "",
        *,
        grpc_url: str = "",
        timeout: float = 5.0,
        load_timeout: float = 120.0,
    ) -> None:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self._http = httpx.Client(base_url=f"http://{url}", timeout=timeout, limits=limits, trust_env=False)
        self._admin = {"X-Admin": admin_key} if admin_key else {}
        self._timeout = timeout
        self._control = ModelControl(grpc_url, admin_key, timeout=load_timeout)
        self._batch_sizes: dict[tuple[str, int], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def live(self) -> bool:
        """True when the server process answers."""
        return self._healthy("/v2/health/live")

    def ready(self, model: str | None = None, version: int | None = None) -> bool:
        """True when the server (or this version of this model) can answer inference requests."""
        return self._healthy(f"/v2/models/{model}/versions/{version}/ready" if model else "/v2/health/ready")

    def index(self) -> dict[tuple[str, int], str]:
        """The state of every version that the server knows, by (model, version): READY, UNAVAILABLE, LOADING, UNLOADING."""
        answer = self._post("/v2/repository/index", b"{}", timeout=self._timeout)
        self._expect_ok(answer, "its index")
        return {
            (e["name"], int(e["version"])): e.get("state", "")
            for e in answer.json()
            if e.get("version", "").isdigit()
        }

    def load(self, model: str) -> None:
        """Load the versions that `model`'s config.pbtxt names. Raises Unavailable with the server's words.

        A 200 is no proof: Triton answers 200 for a version that is not on disk. Compare `index` afterwards.
        """
        self._control.load(model)
        self._batch_sizes = {key: size for key, size in self._batch_sizes.items() if key[0] != model}

    def unload(self, model: str) -> None:
        """Unload every version of `model`; the protocol has no way to unload one."""
        self._control.unload(model)

    def metadata(self, model: str, version: int) -> dict[str, Any]:
        """Names, types and shapes of the tensors of one READY version."""
        answer = self._get(f"/v2/models/{model}/versions/{version}")
        _raise_for(answer, model, version)
        found: dict[str, Any] = answer.json()
        return found

    def infer(self, model: str, version: int, rows: Sequence[Sequence[float | None]]) -> list[float]:
        """Return one prediction a row; None and NaN mean missing. More rows than the model's max_batch_size go in several requests.

        Raises Unavailable (server down, version not READY), DeadlineExceeded, ModelMisbehaved (error inside the model, wrong shape, NaN).
        """
        size = self._batch_size(model, version) if len(rows) > 1 else 1
        predictions: list[float] = []
        for start in range(0, len(rows), size):
            predictions += self._infer(model, version, rows[start : start + size])
        return predictions

    def _infer(self, model: str, version: int, rows: Sequence[Sequence[float | None]]) -> list[float]:
        headers, body = request(rows)
        answer = self._send(
            "POST", f"/v2/models/{model}/versions/{version}/infer", self._timeout, body, headers
        )
        _raise_for(answer, model, version)
        return predictions(model, version, len(rows), answer.headers.get(HEADER_LENGTH), answer.content)

    def _batch_size(self, model: str, version: int) -> int:
        known = self._batch_sizes.get((model, version))
        if known is None:
            answer = self._get(f"/v2/models/{model}/versions/{version}/config")
            _raise_for(answer, model, version)
            known = max(1, int(answer.json().get("max_batch_size", 1)))
            self._batch_sizes[model, version] = known
        return known

    def _healthy(self, path: str) -> bool:
        try:
            return self._get(path).status_code == 200
        except (Unavailable, DeadlineExceeded):
            return False

    def _get(self, path: str) -> httpx.Response:
        return self._send("GET", path, self._timeout)

    def _post(self, path: str, body: bytes, *, timeout: float) -> httpx.Response:
        return self._send("POST", path, timeout, body, self._admin)

    def _send(
        self,
        method: str,
        path: str,
        timeout: float,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, content=body, headers=headers, timeout=timeout)
        except httpx.TimeoutException:
            raise DeadlineExceeded(PART, timeout) from None
        except httpx.TransportError as error:
            raise Unavailable(
                PART, f"{self._http.base_url} does not answer ({type(error).__name__})"
            ) from None

    def _expect_ok(self, answer: httpx.Response, doing: str) -> None:
        if answer.status_code == 403:
            raise Unavailable(
                PART, f"it refused to {doing}: the admin key is not the one it was started with"
            )
        if answer.status_code != 200:
            raise Unavailable(PART, f"it could not {doing}: {_error(answer)}")


def request(rows: Sequence[Sequence[float | None]]) -> tuple[dict[str, str], bytes]:
    """The headers and body of one inference request: `features` [rows, inputs] as float32, little endian."""
    values = array("f", [math.nan if value is None else value for row in rows for value in row])
    if sys.byteorder == "big":
        values.byteswap()
    raw = values.tobytes()
    shape = [len(rows), len(values) // len(rows)]
    tensor = {
        "name": TENSOR_IN,
        "shape": shape,
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    wanted = {"name": TENSOR_OUT, "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [wanted]}, separators=(",", ":")).encode()
    return {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}, head + raw


def predictions(
    model: str, version: int, count: int, header_length: str | None, content: bytes
) -> list[float]:
    """Read an answer to `request`: `count` finite numbers. Raises ModelMisbehaved."""
    try:
        length = int(header_length or len(content))
        outputs = json.loads(content[:length]).get("outputs", [])
        shape, datatype = (outputs[0]["shape"], outputs[0]["datatype"]) if outputs else (None, None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelMisbehaved(model, version, "answered what is not the V2 protocol") from None
    if shape != [count, 1] or datatype != "FP32" or len(content) - length != 4 * count:
        raise ModelMisbehaved(model, version, f"answered shape {shape} where [{count}, 1] was due")
    values = array("f", content[length:])
    if sys.byteorder == "big":
        values.byteswap()
    if not all(map(math.isfinite, values)):
        raise ModelMisbehaved(model, version, "answered a value that is not a finite number")
    return values.tolist()


def _raise_for(answer: httpx.Response, model: str, version: int) -> None:
    if answer.status_code == 200:
        return
    why = _error(answer)
    if answer.status_code in (404, 503) or "unknown model" in why or "not ready" in why or "not found" in why:
        raise Unavailable(PART, f"{model} {version} is not READY")
    raise ModelMisbehaved(model, version, f"Triton answered {answer.status_code}: {why}")


def _error(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("error", ""))[:500]
    except ValueError:
        return f"status {answer.status_code}"
