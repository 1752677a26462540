"""A running gateway that speaks HTTP and gRPC, and NVIDIA's own clients before it, unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tests.fixtures.ports import free_port
from tests.gateway.conftest import KEY, Gateway, settings_of
from tests.gateway.fake_triton import FakeTriton

from medtower.settings import Settings

# age, sex (index of F, M), visits, smoker, marker (missing)
ROW = [70.5, 1.0, 3.0, 1.0, float("nan")]


def login() -> dict[str, str]:
    """A new one each time: the client writes into what it is given."""
    return {"X-API-Key": KEY}


@pytest.fixture
def settings(tmp_path: Path, triton_server: tuple[FakeTriton, str]) -> Settings:
    found = settings_of(tmp_path, triton_server[1])
    return found.model_copy(update={"gateway_grpc_port": free_port()})


@pytest.fixture
def http(gateway: Gateway) -> Iterator[http_client.InferenceServerClient]:
    client = http_client.InferenceServerClient(gateway.url.removeprefix("http://"), concurrency=4)
    yield client
    client.close()


@pytest.fixture
def grpc(gateway: Gateway) -> Iterator[grpc_client.InferenceServerClient]:
    client = grpc_client.InferenceServerClient(f"127.0.0.1:{gateway.settings.gateway_grpc_port}")
    yield client
    client.close()


def tensor(
    module: object, rows: list[list[float]] | None = None, *, binary: bool = True
) -> http_client.InferInput:
    """The input `features` of either client."""
    values = np.array(rows or [ROW], dtype=np.float32)
    found = module.InferInput("features", list(values.shape), "FP32")  # type: ignore[attr-defined]
    if module is http_client:
        found.set_data_from_numpy(values, binary_data=binary)
    else:
        found.set_data_from_numpy(values)
    return found
