"""From a fitted module to one ONNX file that every part of the tower may load, and the proof that both answer alike."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medtower import atomic_file
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import InvalidInput, ModelMisbehaved
from medtower.training.policy import inspect

if TYPE_CHECKING:
    import torch

__all__ = ["OPSET", "export", "inspect", "parity"]

OPSET = (
    17  # written as IR version 8; read by ONNX Runtime since 1.12 and so by every Triton that is in support
)


def export(module: torch.nn.Module, inputs: int, path: Path) -> None:
    """Write `module` to `path`: one file, `features` [batch, inputs] → `prediction` [batch, 1], float32, batch dynamic.

    The TorchScript exporter is used on purpose: it takes 10 ms instead of 6 s, needs no onnxscript, and leaves no stack traces with
    this machine's paths in the file; torch is pinned. The same weights give the same bytes. Raises Refused when the graph breaks the
    policy; the file appears only when it does not.
    """
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        for message in (
            "You are using the legacy TorchScript-based ONNX export",
            "The feature will be removed",
        ):
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, inputs),),
            buffer,
            dynamo=False,
            opset_version=OPSET,
            input_names=[TENSOR_IN],
            output_names=[TENSOR_OUT],
            dynamic_axes={TENSOR_IN: {0: "batch"}, TENSOR_OUT: {0: "batch"}},
        )
    with atomic_file.draft(path) as draft:
        draft.write_bytes(buffer.getvalue())
        inspect(draft)


def parity(module: torch.nn.Module, path: Path, x: NDArray[np.floating], tolerance: float) -> float:
    """Return the largest absolute difference between torch and ONNX Runtime (CPU, one thread) over the rows x [n, inputs].

    The whole batch and a batch of one are compared. Raises ModelMisbehaved when the difference is above `tolerance`, when a shape is
    wrong or when either answers NaN or infinity; InvalidInput when x has no rows.
    """
    import torch

    rows = np.ascontiguousarray(x, dtype=np.float32)
    if rows.ndim != 2 or not len(rows):
        raise InvalidInput(
            f"parity needs rows [n, inputs] with n ≥ 1, not {rows.shape}; pass a sample of the cohort"
        )
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(rows)).numpy()
    actual, single = _run(path, rows), _run(path, rows[:1])
    if actual.shape != (len(rows), 1) or single.shape != (1, 1):
        raise ModelMisbehaved(path.name, None, f"answers {actual.shape} to {rows.shape}; it must be [n, 1]")
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        raise ModelMisbehaved(path.name, None, "answers NaN or infinity to rows of the sample")
    difference = float(max(np.abs(actual - expected).max(), np.abs(single - expected[:1]).max()))
    if difference > tolerance:
        raise ModelMisbehaved(
            path.name,
            None,
            f"differs from the trained module by {difference:.3g}, more than {tolerance:g}; do not release this file",
        )
    return difference


def _run(path: Path, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run([TENSOR_OUT], {TENSOR_IN: rows})[0]
    return answer
