"""Cohort frames as the numbers a model takes: the vectorised twin of `medtower.domain.inference.encode`."""

from __future__ import annotations

import hashlib
import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medtower.domain.contract import Contract, Input, Population


def encode(frame: pd.DataFrame, contract: Contract) -> NDArray[np.float32]:
    """`features` [n, inputs] float32 in the contract's order; missing is NaN, a category its index, a boolean 0 or 1.

    A value that the gateway would refuse (outside the range, an unknown category) is NaN here: no model learns from what it will never see.
    """
    return np.column_stack([_encoded(frame[i.name], i) for i in contract.inputs]).astype(np.float32)


def _encoded(column: pd.Series, spec: Input) -> NDArray[np.float64]:
    if spec.dtype == "category":
        place = {category: float(k) for k, category in enumerate(spec.categories or [])}
        return np.array([place.get(v, math.nan) for v in column], dtype=np.float64)
    if spec.dtype == "boolean":
        return np.array([math.nan if pd.isna(v) else float(v) for v in column], dtype=np.float64)
    values = column.to_numpy(dtype=np.float64)
    low, high = spec.range or (-math.inf, math.inf)
    # compared as float32, the model's precision: a value at the border stays inside when it comes back from a record
    single = values.astype(np.float32)
    allowed = (single >= np.float32(low)) & (single <= np.float32(high))
    if spec.dtype == "integer":
        allowed &= values == np.trunc(values)
    return np.where(allowed, values, math.nan)


def decode(features: ArrayLike, contract: Contract) -> pd.DataFrame:
    """The inputs' columns of a cohort frame from `features` [n, inputs], missing as NaN or None: the reverse of `encode`."""
    rows = np.asarray(features, dtype=np.float64).reshape(-1, len(contract.inputs))
    return pd.DataFrame({spec.name: _decoded(rows[:, k], spec) for k, spec in enumerate(contract.inputs)})


def _decoded(values: NDArray[np.float64], spec: Input) -> pd.Series:
    if spec.dtype in ("float", "integer"):
        return pd.Series(values, dtype=np.float64)
    levels: list[Any] = list(spec.categories or []) or [False, True]
    return pd.Series([None if math.isnan(v) else levels[int(v)] for v in values], dtype=object)


def populations(frame: pd.DataFrame, contract: Contract) -> dict[str, NDArray[np.bool_]]:
    """Who belongs to which population: `sex=F`, `age_band=<65`, `age_band=65–75`, `age_band=≥75` (upper end excluded) to a mask [n]."""
    masks: dict[str, NDArray[np.bool_]] = {}
    for population in contract.populations:
        spec = contract.input(population.input)
        column = frame[population.input]
        masks |= _bands(population, column) if population.edges else _levels(population, spec, column)
    return masks


def _levels(population: Population, spec: Input, column: pd.Series) -> dict[str, NDArray[np.bool_]]:
    levels: dict[str, Any] = {c: c for c in spec.categories or []} or {"false": False, "true": True}
    return {
        f"{population.name}={name}": (column == level).to_numpy(dtype=bool) for name, level in levels.items()
    }


def _bands(population: Population, column: pd.Series) -> dict[str, NDArray[np.bool_]]:
    values = column.to_numpy(dtype=np.float64)
    edges = sorted(population.edges or [])
    ends = [-math.inf, *edges, math.inf]
    names = [
        f"<{edges[0]:g}",
        *(f"{a:g}–{b:g}" for a, b in pairwise(edges)),
        f"≥{edges[-1]:g}",
    ]
    return {
        f"{population.name}={name}": (values >= low) & (values < high)
        for name, (low, high) in zip(names, pairwise(ends), strict=True)
    }


def fingerprint(frame: pd.DataFrame) -> str:
    """sha256 of the cohort: the same rows with the same values give the same digest, in whatever order rows and columns stand."""
    names = sorted(frame.columns)
    rows = zip(*(_exact(frame[name]) for name in names), strict=True)
    digests = sorted(hashlib.sha256(json.dumps(row).encode()).digest() for row in rows)
    return hashlib.sha256(json.dumps(names).encode() + b"".join(digests)).hexdigest()


def _exact(column: pd.Series) -> list[Any]:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return [None if pd.isna(v) else v.isoformat() for v in column]
    # + 0.0 makes -0.0 and 0.0, which are equal, one
    return [None if pd.isna(v) else v + 0.0 if isinstance(v, float) else v for v in column.tolist()]
