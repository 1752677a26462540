"""What of an input is tested for drift: a number, a category or a boolean is itself, a text or a sequence is summed up in a few numbers.

A text's buckets and a sequence's places say nothing each by itself, and hundreds of tests of them would drown the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medtower.domain.contract import Contract, Input
from medtower.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """One tested column of both windows. `levels` names those of a category or boolean; a number has none."""

    name: str
    levels: tuple[str, ...] = ()


def features(contract: Contract) -> list[Feature]:
    """The tested features, in the contract's order.

    Of a text: `note.terms`, how many buckets it fills, and `note.similarity`, the cosine between it and the mean text of the reference. Of a
    sequence: `trace.length`, `trace.mean` and `trace.spread` (standard deviation).
    """
    return [feature for spec in contract.inputs for feature in _features(spec)]


def _features(spec: Input) -> list[Feature]:
    if spec.dtype == "text":
        return [Feature(f"{spec.name}.terms"), Feature(f"{spec.name}.similarity")]
    if spec.dtype == "sequence":
        return [Feature(f"{spec.name}.{what}") for what in ("length", "mean", "spread")]
    levels = ("false", "true") if spec.dtype == "boolean" else tuple(spec.categories or ())
    return [Feature(spec.name, levels)]


def summarised(
    contract: Contract, reference: NDArray[np.floating], current: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """Both windows [n, width] as their features [n, features], NaN where an input is missing. Raises InvalidInput when a window is not that wide."""
    windows = [np.asarray(window, dtype=np.float64) for window in (reference, current)]
    for window in windows:
        if window.ndim != 2 or window.shape[1] != contract.width:
            raise InvalidInput(f"a window has shape {window.shape}; give [n, {contract.width}]")
    before, now = windows
    pairs = [
        _tested(spec, before[:, place], now[:, place])
        for spec, place in zip(contract.inputs, contract.slices, strict=True)
    ]
    return np.hstack([pair[0] for pair in pairs]), np.hstack([pair[1] for pair in pairs])


def _tested(spec: Input, before: Floats, now: Floats) -> tuple[Floats, Floats]:
    if spec.dtype == "text":
        centre = np.nansum(before, axis=0)
        return (
            np.column_stack([_terms(before), _similarity(before, centre, inside=True)]),
            np.column_stack([_terms(now), _similarity(now, centre, inside=False)]),
        )
    if spec.dtype == "sequence":
        return _moments(before), _moments(now)
    return before, now


def _terms(rows: Floats) -> Floats:
    return np.where(np.isnan(rows).any(axis=1), np.nan, (rows != 0).sum(axis=1))


def _similarity(rows: Floats, centre: Floats, *, inside: bool) -> Floats:
    """The cosine between each row and `centre`, 0 for a text without words. Rows that are `inside` it are compared with the others, else they would
    be like it because it is made of them."""
    others = centre - rows if inside else np.broadcast_to(centre, rows.shape)
    size = np.linalg.norm(others, axis=1) * np.linalg.norm(rows, axis=1)
    cosine = np.divide((rows * others).sum(axis=1), size, out=np.zeros(len(rows)), where=size > 0)
    return np.where(np.isnan(rows).any(axis=1), np.nan, cosine)


def _moments(rows: Floats) -> Floats:
    there = ~np.isnan(rows)
    length = there.sum(axis=1)
    known = np.where(length > 0, length, np.nan)
    mean = np.nansum(rows, axis=1) / known
    spread = np.sqrt(np.nansum((rows - mean[:, None]) ** 2, axis=1) / known)
    return np.column_stack([known, mean, spread])
