"""The real server: what Triton's adapter says about it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.onnx_models import linear
from tests.fixtures.triton import TritonProcess

from medtower.adapters.triton import Triton
from medtower.errors import DeadlineExceeded, ModelMisbehaved, Unavailable

CONFIG = """name: "{name}"
backend: "onnxruntime"
max_batch_size: 64
input [ {{ name: "features", data_type: TYPE_FP32, dims: [ {inputs} ] }} ]
output [ {{ name: "prediction", data_type: TYPE_FP32, dims: [ 1 ] }} ]
dynamic_batching {{ }}
instance_group [ {{ count: 1, kind: KIND_AUTO }} ]
version_policy: {{ specific {{ versions: [ {versions} ] }} }}
"""


@pytest.fixture(scope="module")
def triton(triton_process: TritonProcess) -> Iterator[Triton]:
    with Triton(triton_process.url, triton_process.admin_key, grpc_url=triton_process.grpc_url) as client:
        yield client


def put(store: Path, name: str, versions: str, inputs: int = 3) -> None:
    (store / name / "config.pbtxt").write_text(CONFIG.format(name=name, inputs=inputs, versions=versions))


def test_a_loaded_version_answers_every_row_in_order(triton_process: TritonProcess, triton: Triton) -> None:
    linear(triton_process.store / "adapter_sum" / "1" / "model.onnx", 3, offset=0.5)
    put(triton_process.store, "adapter_sum", "1")
    triton.load("adapter_sum")
    assert triton.index()["adapter_sum", 1] == "READY"
    assert triton.ready() and triton.ready("adapter_sum", 1) and triton.live()
    rows = [[float(i), 1.0, None if i % 2 else math.nan] for i in range(2000)]
    started = time.perf_counter()
    answers = triton.infer("adapter_sum", 1, rows)
    assert time.perf_counter() - started < 5
    np.testing.assert_allclose(answers, [i + 1.5 for i in range(2000)], rtol=1e-6)
    assert triton.infer("adapter_sum", 1, []) == []
    assert triton.metadata("adapter_sum", 1)["inputs"][0]["shape"] == [-1, 3]


def test_a_version_that_is_not_ready_is_unavailable(triton: Triton) -> None:
    with pytest.raises(Unavailable, match="adapter_sum 9 is not READY"):
        triton.infer("adapter_sum", 9, [[1.0, 2.0, 3.0]])
    with pytest.raises(Unavailable, match="nobody 1 is not READY"):
        triton.infer("nobody", 1, [[1.0]])
    assert not triton.ready("adapter_sum", 9)


def test_rows_of_another_width_are_the_models_misbehaviour(triton: Triton) -> None:
    with pytest.raises(ModelMisbehaved):
        triton.infer("adapter_sum", 1, [[1.0]])


def test_a_nan_answer_never_leaves_the_adapter(triton_process: TritonProcess, triton: Triton) -> None:
    linear(triton_process.store / "adapter_nan" / "1" / "model.onnx", 3, offset=math.nan)
    put(triton_process.store, "adapter_nan", "1")
    triton.load("adapter_nan")
    with pytest.raises(ModelMisbehaved, match="not a finite number"):
        triton.infer("adapter_nan", 1, [[1.0, 2.0, 3.0]])


def test_weights_that_do_not_fit_the_config_are_refused_and_the_old_version_keeps_serving(
    triton_process: TritonProcess, triton: Triton
) -> None:
    linear(triton_process.store / "adapter_sum" / "2" / "model.onnx", 5)
    put(triton_process.store, "adapter_sum", "1, 2")
    with pytest.raises(Unavailable, match="load adapter_sum"):
        triton.load("adapter_sum")
    assert triton.index()["adapter_sum", 1] == "READY"
    assert triton.index()["adapter_sum", 2] == "UNAVAILABLE"
    assert triton.infer("adapter_sum", 1, [[1.0, 1.0, 1.0]]) == [3.5]


def test_model_control_is_closed_without_the_key(triton_process: TritonProcess) -> None:
    for key in ("wrong", ""):
        with Triton(triton_process.url, key, grpc_url=triton_process.grpc_url) as client:
            with pytest.raises(Unavailable, match="admin key"):
                client.load("adapter_sum")
            with pytest.raises(Unavailable, match="admin key"):
                client.index()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Triton("127.0.0.1:9") as absent:
        assert not absent.live()
        with pytest.raises(Unavailable, match="does not answer"):
            absent.infer("m", 1, [[1.0]])


def test_a_control_port_that_is_closed_or_hangs_is_named(unanswering_port: int) -> None:
    absent = Triton("127.0.0.1:9", grpc_url="127.0.0.1:9")
    with absent, pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 \(gRPC\) does not answer"):
        absent.load("m")
    hanging = Triton("127.0.0.1:9", grpc_url=f"127.0.0.1:{unanswering_port}", load_timeout=0.3)
    with hanging, pytest.raises((DeadlineExceeded, Unavailable)):
        hanging.load("m")


@pytest.mark.timeout(120)
def test_a_load_holds_up_no_request_for_a_version_that_serves(
    triton_process: TritonProcess, triton: Triton
) -> None:
    name = "adapter_busy"
    for version in range(1, 8):
        linear(triton_process.store / name / str(version) / "model.onnx", 3)
    put(triton_process.store, name, "1")
    triton.load(name)
    put(triton_process.store, name, "1, 2, 3, 4, 5, 6, 7")  # many at once, so that the load takes a second
    loaded = threading.Event()

    def load() -> None:
        try:
            triton.load(name)
        finally:
            loaded.set()

    def ask() -> float:
        """The longest that one of this caller's requests took, in seconds."""
        longest = 0.0
        with Triton(triton_process.url) as caller:
            while not loaded.is_set():
                started = time.perf_counter()
                caller.infer(name, 1, [[1.0, 1.0, 1.0]])
                longest = max(longest, time.perf_counter() - started)
        return longest

    # as many connections as the server has threads: one of them would share the thread of a load over HTTP
    with ThreadPoolExecutor(17) as pool:
        callers = [pool.submit(ask) for _ in range(16)]
        began = time.perf_counter()
        pool.submit(load).result()
        took = time.perf_counter() - began
        longest = max(caller.result() for caller in callers)
    assert longest < 0.8 * took  # a request that shares a thread with the load waits for all of it
    assert triton.ready(name, 7)


def test_a_server_that_hangs_is_a_deadline(unanswering_port: int) -> None:
    client = Triton(f"127.0.0.1:{unanswering_port}", timeout=0.2)
    with client, pytest.raises(DeadlineExceeded, match=r"0\.2 s"):
        client.infer("m", 1, [[1.0]])


def test_unload_takes_the_whole_model_away(triton_process: TritonProcess, triton: Triton) -> None:
    triton.unload("adapter_nan")
    with pytest.raises(Unavailable):
        triton.infer("adapter_nan", 1, [[1.0, 2.0, 3.0]])
