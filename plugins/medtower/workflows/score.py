"""Scores of an ONNX network on rows, in this process: what training compares a candidate and a champion with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medtower.domain.inference import TENSOR_IN, TENSOR_OUT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def score(network: Path, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Predictions [n] of the network for `x` [n, inputs], on the CPU with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
    (answer,) = session.run([TENSOR_OUT], {TENSOR_IN: x})
    scores: NDArray[np.float64] = answer[:, 0].astype("float64")
    return scores
