"""The network that every server serves: 16-64-32-1, sigmoid, seeded weights; its rows, its true answers, and its contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from medtower.domain.contract import Contract
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT

MODEL = "bench_network"
SIZES = (16, 64, 32, 1)
ROWS = 64
TOLERANCE = 1e-5
FEATURES = tuple(f"feature_{number:02}" for number in range(SIZES[0]))


@dataclass(frozen=True)
class Network:
    """The file, `rows` [64, 16] that are asked in turn, and `answers` [64]: what ONNX Runtime says in this process."""

    path: Path
    rows: NDArray[np.float32]
    answers: NDArray[np.float32]


def made(path: Path, seed: int = 4) -> Network:
    """Write the network to `path`. The rows have three decimals, so that their JSON is of the length that people send."""
    generator = np.random.default_rng(seed)
    onnx.save(_model(generator), path)
    rows = generator.uniform(-4, 4, (ROWS, SIZES[0])).round(3).astype(np.float32)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (answers,) = session.run([TENSOR_OUT], {TENSOR_IN: rows})
    return Network(path, rows, answers[:, 0])


def contract(emergency: Mapping[str, object] | None = None) -> Contract:
    """The contract under which the gateway serves it: sixteen numbers between -5 and 5, a probability out; `emergency` where some are."""
    return Contract.model_validate(
        {
            **({"emergency": emergency} if emergency else {}),
            "schema": "medtower/contract/v1",
            "name": MODEL,
            "title": "The network of the benchmark",
            "task": "classification",
            "intended_use": "to be asked by a benchmark",
            "out_of_scope": ["patients"],
            "owner": "technical@example.org",
            "inputs": [
                {"name": name, "dtype": "float", "unit": "1", "range": [-5, 5], "description": "a number"}
                for name in FEATURES
            ],
            "output": {
                "name": "score",
                "unit": "{probability}",
                "description": "a number",
                "positive": "high",
            },
            "kpis": {"auc_roc": {"target": 0.9, "warning": 0.88, "critical": 0.85}},
            "gates": {"primary": "auc_roc"},
        }
    )


def _model(generator: np.random.Generator) -> onnx.ModelProto:
    nodes, weights, value = [], [], TENSOR_IN
    for layer, (width, wider) in enumerate(pairwise(SIZES)):
        for name, shape in (("w", (width, wider)), ("b", (wider,))):
            drawn = generator.normal(0, np.sqrt(2 / width), shape).astype(np.float32)
            weights.append(numpy_helper.from_array(drawn, f"{name}{layer}"))
        last = layer == len(SIZES) - 2
        nodes.append(helper.make_node("Gemm", [value, f"w{layer}", f"b{layer}"], [f"sum{layer}"]))
        value = TENSOR_OUT if last else f"out{layer}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"sum{layer}"], [value]))
    graph = helper.make_graph(
        nodes,
        MODEL,
        [helper.make_tensor_value_info(TENSOR_IN, TensorProto.FLOAT, ["batch", SIZES[0]])],
        [helper.make_tensor_value_info(TENSOR_OUT, TensorProto.FLOAT, ["batch", 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
