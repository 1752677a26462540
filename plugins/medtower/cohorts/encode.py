"""Cohort frames as the numbers a model takes: the vectorised twin of `medtower.domain.inference.encode`."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medtower.domain.contract import Contract, Input, Population
from medtower.domain.text_hashing import Buckets, bucket, terms


def encode(frame: pd.DataFrame, contract: Contract) -> NDArray[np.float32]:
    """`features` [n, width] float32 in the contract's order; missing is NaN, a category its index, a boolean 0 or 1, a text its hashed words, a
    sequence its numbers and NaN behind them.

    A value that the gateway would refuse (outside the range, an unknown category) is NaN here: no model learns from what it will never see.
    """
    return np.column_stack([_encoded(frame[i.name], i) for i in contract.inputs]).astype(np.float32)


def _encoded(column: pd.Series, spec: Input) -> NDArray[np.float64]:
    """One input's columns [n] or [n, width]."""
    if spec.dtype == "text":
        return hashed_texts(column, spec)
    if spec.dtype == "sequence":
        return padded(column, spec)
    if spec.dtype == "category":
        place = {category: float(k) for k, category in enumerate(spec.categories or [])}
        return np.array([place.get(v, math.nan) for v in column], dtype=np.float64)
    if spec.dtype == "boolean":
        return np.array([math.nan if pd.isna(v) else float(v) for v in column], dtype=np.float64)
    return _allowed(column.to_numpy(dtype=np.float64), spec)


def _allowed(values: NDArray[np.float64], spec: Input) -> NDArray[np.float64]:
    """`values` of any shape, NaN where the contract refuses them."""
    low, high = spec.range or (-math.inf, math.inf)
    # compared as float32, the model's precision: a value at the border stays inside when it comes back from a record
    single = values.astype(np.float32)
    allowed = (single >= np.float32(low)) & (single <= np.float32(high))
    if spec.dtype == "integer":
        allowed &= values == np.trunc(values)
    return np.where(allowed, values, math.nan)


def padded(column: pd.Series, spec: Input) -> NDArray[np.float64]:
    """Sequences as rows [n, most], NaN behind their end. A sequence that is missing, too short or too long, or has a number that the gateway would
    refuse, is NaN throughout."""
    least, most = spec.length or (0, 0)
    fitting = [isinstance(v, list | tuple) and least <= len(v) <= most for v in column]
    lengths = np.array(
        [len(v) if fits else 0 for v, fits in zip(column, fitting, strict=True)], dtype=np.intp
    )
    rows = np.full((len(column), most), np.nan)
    held = np.arange(most) < lengths[:, None]
    rows[held] = np.fromiter(
        (number for v, fits in zip(column, fitting, strict=True) if fits for number in v), dtype=np.float64
    )
    rows = _allowed(rows, spec)
    rows[(np.isnan(rows) & held).any(axis=1)] = np.nan
    return rows


def hashed_texts(column: pd.Series, spec: Input) -> NDArray[np.float64]:
    """Texts as rows [n, buckets] of `domain.text_hashing.hashed`; every different term is hashed once. A missing or too long text is NaN throughout."""
    known = np.array([isinstance(v, str) and len(v) <= (spec.max_length or 0) for v in column], dtype=bool)
    place_of = cache(partial(bucket, buckets=spec.width))
    found = [(row, *place_of(term)) for row, text in enumerate(column) if known[row] for term in terms(text)]
    counts = np.zeros((len(column), spec.width))
    if found:
        row, place, sign = np.array(found, dtype=np.int64).T
        np.add.at(counts, (row, place), sign)
    norms = np.sqrt((counts * counts).sum(axis=1, keepdims=True))
    rows: NDArray[np.float64] = np.divide(counts, norms, out=np.zeros_like(counts), where=norms > 0)
    rows[~known] = np.nan
    for row, text in enumerate(column):
        if isinstance(text, Buckets) and len(text) == spec.width:
            rows[row] = text
    return rows


def decode(features: ArrayLike, contract: Contract) -> pd.DataFrame:
    """The inputs' columns of a cohort frame from `features` [n, width], missing as NaN or None: the reverse of `encode`, except that a text
    stays what it was hashed into (`Buckets`, which encode to themselves)."""
    rows = np.asarray(features, dtype=np.float64).reshape(-1, contract.width)
    return pd.DataFrame(
        {
            spec.name: _several(rows[:, place], spec)
            if spec.dtype in ("text", "sequence")
            else _decoded(rows[:, place.start], spec)
            for spec, place in zip(contract.inputs, contract.slices, strict=True)
        }
    )


def _several(rows: NDArray[np.float64], spec: Input) -> pd.Series:
    kind: type[tuple[float, ...]] = Buckets if spec.dtype == "text" else tuple
    missing = np.isnan(rows)
    found = [None if gap.all() else kind(row[~gap].tolist()) for row, gap in zip(rows, missing, strict=True)]
    return pd.Series(found, dtype=object)


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
    return [_plain(v) for v in column.tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    # + 0.0 makes -0.0 and 0.0, which are equal, one
    return None if pd.isna(value) else value + 0.0 if isinstance(value, float) else value
