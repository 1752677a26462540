"""A Triton backend called `onnxruntime`, for the server binary that ships without the native one.

Runs only inside Triton's own environment (numpy < 2, onnxruntime), as `<backends>/onnxruntime/model.py`. It takes the same files as
the native backend: `config.pbtxt` and `<version>/model.onnx`. The interface is Triton's python backend (TritonPythonModel).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

TYPES = {"tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64", "tensor(int64)": "TYPE_INT64"}


def _session(repository: str, version: str) -> ort.InferenceSession:
    """One thread a session: the tower's cores are shared by all models, and small networks lose by splitting."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    path = Path(repository) / version / "model.onnx"
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _dims(node: Any) -> list[int]:
    """The tensor's shape without the batch; an open dimension is -1."""
    return [d if isinstance(d, int) else -1 for d in node.shape[1:]]


class TritonPythonModel:
    """One instance of one version of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the version; refuse it when its tensors are not those of the config, as the native backend does."""
        config = json.loads(args["model_config"])
        self.session = _session(args["model_repository"], args["model_version"])
        self.input = config["input"][0]["name"]
        self.outputs = [o["name"] for o in config["output"]]
        for declared, nodes in (
            (config["input"], self.session.get_inputs()),
            (config["output"], self.session.get_outputs()),
        ):
            found = {n.name: (TYPES.get(n.type, n.type), _dims(n)) for n in nodes}
            for tensor in declared:
                wanted = (tensor["data_type"], [int(d) for d in tensor["dims"]])
                if found.get(tensor["name"]) != wanted:
                    raise pb_utils.TritonModelException(
                        f"tensor {tensor['name']}: config.pbtxt says {wanted}, model.onnx has {found.get(tensor['name'])}"
                    )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a dynamic batch with one run: rows are concatenated, and the results cut back to each request."""
        arrays = [pb_utils.get_input_tensor_by_name(r, self.input).as_numpy() for r in requests]
        rows = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        results = self.session.run(self.outputs, {self.input: rows})
        responses, start = [], 0
        for array in arrays:
            end = start + len(array)
            tensors = [
                pb_utils.Tensor(name, result[start:end])
                for name, result in zip(self.outputs, results, strict=True)
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start = end
        return responses
