"""Golden inference: rows that are no patient's, and the answers that the approved weights give to them.

A version is routed to only when the server repeats these answers: it proves that the right bytes run, on this hardware, in this runtime.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medtower.domain.contract import Contract, Input
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.errors import ModelMisbehaved

MISSING_RATE = 0.2


class Golden(BaseModel):
    """`golden.json` of a dossier: `rows` [n, inputs] (None is missing), `expected` [n], and how far an answer may lie from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[list[float | None]] = Field(min_length=1)
    expected: list[float]
    tolerance: float = Field(gt=0)


def rows(contract: Contract, n: int = 16) -> list[list[float | None]]:
    """Return `n` rows [n, inputs] inside the contract's ranges, the same at every call; some are missing where the contract allows it."""
    rng = np.random.default_rng(contract.training.seed)
    columns = [_column(spec, rng, n) for spec in contract.inputs]
    return [list(row) for row in zip(*columns, strict=True)]


def _column(spec: Input, rng: np.random.Generator, n: int) -> list[float | None]:
    low, high = spec.range or (0.0, float(len(spec.categories or (0, 1)) - 1))
    whole = spec.dtype != "float"
    drawn = rng.integers(math.ceil(low), math.floor(high) + 1, n) if whole else rng.uniform(low, high, n)
    gaps = rng.random(n) < MISSING_RATE
    # as float32, because that is what the model will see
    values = drawn.astype(np.float32).tolist()
    return [
        None if gap and spec.missing == "impute" else float(v) for v, gap in zip(values, gaps, strict=True)
    ]


def make(contract: Contract, weights: Path, n: int = 16) -> Golden:
    """Compute the golden answers of the ONNX file `weights` with ONNX Runtime on the CPU. Raises ModelMisbehaved on NaN."""
    import onnxruntime  # heavy, and needed only where evidence is built

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    questions = rows(contract, n)
    features = np.array([[math.nan if v is None else v for v in row] for row in questions], dtype=np.float32)
    answers = session.run([TENSOR_OUT], {TENSOR_IN: features})[0]
    if answers.shape != (n, 1) or not np.isfinite(answers).all():
        raise ModelMisbehaved(
            contract.name, 0, f"{weights.name} does not answer {n} finite numbers to the golden rows"
        )
    return Golden(
        rows=questions,
        expected=answers[:, 0].astype(float).tolist(),
        tolerance=contract.gates.parity_tolerance,
    )


def check(
    expected: Sequence[float], actual: Sequence[float], tolerance: float, *, model: str, version: int
) -> float:
    """Return the largest difference, relative where |expected| > 1. Raises ModelMisbehaved above `tolerance` or on another count."""
    if len(expected) != len(actual):
        raise ModelMisbehaved(model, version, f"gave {len(actual)} golden answers, {len(expected)} were due")
    worst = max(abs(a - e) / max(1.0, abs(e)) for e, a in zip(expected, actual, strict=True))
    if not worst <= tolerance:
        raise ModelMisbehaved(
            model,
            version,
            f"golden answers differ by {worst:.2g} from the approved ones; {tolerance:g} is allowed",
        )
    return worst
