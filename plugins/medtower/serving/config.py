"""Renders Triton's `config.pbtxt` from a contract (Triton's ModelConfig protobuf, text format)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from medtower.domain.contract import Contract
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT

MAX_BATCH_SIZE = 1024


def render(contract: Contract, *, versions: Sequence[int] | None = None) -> str:
    """Return config.pbtxt. `versions` None gives the committed form; a list adds the reconciler's version policy.

    The text is the same on every machine: KIND_AUTO takes the GPU where there is one. The batcher has no queue delay, because a delay
    costs the lone caller three times its latency.
    """
    lines = [
        f'name: "{contract.name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {MAX_BATCH_SIZE}",
        f'input [ {{ name: "{TENSOR_IN}", data_type: TYPE_FP32, dims: [ {contract.width} ] }} ]',
        f'output [ {{ name: "{TENSOR_OUT}", data_type: TYPE_FP32, dims: [ 1 ] }} ]',
        "dynamic_batching { }",
        "instance_group [ { count: 1, kind: KIND_AUTO } ]",
    ]
    committed = "\n".join(lines) + "\n"
    return committed if versions is None else with_versions(committed, versions)


def with_versions(committed: str, versions: Iterable[int]) -> str:
    """The committed text with the reconciler's version policy: exactly these versions are loaded."""
    listed = ", ".join(str(v) for v in sorted(set(versions)))
    return committed + f"version_policy: {{ specific {{ versions: [ {listed} ] }} }}\n"


def width(text: str) -> int | None:
    """The number of columns that a rendered config declares; None when it has no such line."""
    found = re.search(rf'name: "{TENSOR_IN}", data_type: TYPE_FP32, dims: \[ (\d+) \]', text)
    return int(found.group(1)) if found else None
