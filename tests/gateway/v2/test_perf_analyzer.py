"""NVIDIA's perf_analyzer against the running gateway (PyPI perf-analyzer; its wheels are for glibc 2.38 and later)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.gateway.conftest import KEY, Gateway

BINARY = shutil.which("perf_analyzer")
REQUESTS = 40
pytestmark = pytest.mark.skipif(BINARY is None, reason="perf_analyzer is not on the PATH")


def run(gateway: Gateway, folder: Path, protocol: str, *options: str) -> str:
    """What it prints after `REQUESTS` requests of two callers; they ask what the contract accepts, because its own random numbers would not be."""
    data = folder / "data.json"
    data.write_text(json.dumps({"data": [{"features": [70.5, 1.0, 3.0, 1.0, 2.5]}]}))
    port = gateway.settings.gateway_grpc_port if protocol == "grpc" else gateway.url.rsplit(":", 1)[1]
    command = [
        str(BINARY),
        *("-m", "demo_risk", "-i", protocol, "-u", f"127.0.0.1:{port}", "-H", f"x-api-key:{KEY}"),
        *("--input-data", str(data), "--request-count", str(REQUESTS), "--concurrency-range", "2", *options),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("http", ()),
        ("http", ("--input-tensor-format", "json", "--output-tensor-format", "json")),
        ("grpc", ()),
        ("grpc", ("--streaming",)),
    ],
)
def test_it_measures_the_gateway_as_it_would_measure_triton(
    gateway: Gateway, tmp_path: Path, protocol: str, options: tuple[str, ...]
) -> None:
    printed = run(gateway, tmp_path, protocol, *options)
    assert re.search(r"Throughput: [1-9][0-9.]* infer/sec", printed)
    assert gateway.metric('medtower_predictions_total{model="demo_risk",version="1"}') >= REQUESTS


def test_its_batches_are_rows_of_the_record(gateway: Gateway, tmp_path: Path) -> None:
    run(gateway, tmp_path, "http", "-b", "4")
    assert gateway.metric('medtower_predictions_total{model="demo_risk",version="1"}') >= 4 * REQUESTS
