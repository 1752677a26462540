"""Golden inference: rows that are no patient's, and the answers that the approved weights give to them.

A version is routed to only when the server repeats these answers: it proves that the right bytes run, on this hardware, in this runtime.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from medtower.domain.contract import Contract, Input
from medtower.domain.inference import TENSOR_IN, TENSOR_OUT
from medtower.domain.text_hashing import hashed
from medtower.errors import ModelMisbehaved

MISSING_RATE = 0.2


class Golden(BaseModel):
    """`golden.json` of a dossier: `rows` [n, width] (None is missing), `expected` [n], and how far an answer may lie from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[list[float | None]] = Field(min_length=1)
    expected: list[float]
    tolerance: float = Field(gt=0)


def rows(contract: Contract, n: int = 16) -> list[list[float | None]]:
    """Return `n` rows [n, width] inside the contract's ranges, the same at every call; some are missing where the contract allows it."""
    rng = np.random.default_rng(contract.training.seed)
    columns = [column for spec in contract.inputs for column in _columns(spec, rng, n)]
    return [list(row) for row in zip(*columns, strict=True)]


def _columns(spec: Input, rng: np.random.Generator, n: int) -> list[list[float | None]]:
    if spec.dtype == "text":
        return _text(spec, rng, n)
    if spec.dtype == "sequence":
        return _sequence(spec, rng, n)
    return [_column(spec, rng, n)]


def _text(spec: Input, rng: np.random.Generator, n: int) -> list[list[float | None]]:
    """Texts of made-up words, hashed as a real one would be."""
    count = rng.integers(1, 21, n)
    texts = [" ".join(f"word{k}" for k in rng.integers(0, 1000, m)) for m in count.tolist()]
    gaps = rng.random(n) < MISSING_RATE
    rows = [
        [None] * spec.width if gap and spec.missing == "impute" else _single(hashed(text, spec.width))
        for text, gap in zip(texts, gaps, strict=True)
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _sequence(spec: Input, rng: np.random.Generator, n: int) -> list[list[float | None]]:
    (low, high), (least, most) = spec.range or (0.0, 1.0), spec.length or (1, 1)
    drawn, lengths = rng.uniform(low, high, (n, most)), rng.integers(least, most + 1, n)
    gaps = rng.random(n) < MISSING_RATE
    lengths = np.where(gaps & (spec.missing == "impute"), 0, lengths)
    rows = [_single(row[:m]) + [None] * (most - m) for row, m in zip(drawn, lengths.tolist(), strict=True)]
    return [list(column) for column in zip(*rows, strict=True)]


def _single(values: Sequence[float] | NDArray[np.float64]) -> list[float | None]:
    """As float32, because that is what the model will see."""
    return [float(v) for v in np.asarray(values, dtype=np.float32)]


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
