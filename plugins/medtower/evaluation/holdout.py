"""A holdout: outcomes and scores of the same rows, checked once, and the populations they fall into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtower.domain.contract import Contract
from medtower.domain.metric import Task
from medtower.errors import InvalidInput, ModelMisbehaved

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Holdout:
    """`y` [n] (0 or 1, or a number), `score` [n] (probability, or a number) and masks [n]; only rows whose outcome is known."""

    task: Task
    threshold: float
    y: Floats
    score: Floats
    populations: dict[str, Mask]

    @classmethod
    def of(
        cls,
        contract: Contract,
        y: ArrayLike,
        score: ArrayLike,
        populations: Mapping[str, ArrayLike] | None = None,
    ) -> Holdout:
        """Leave out rows with an unknown outcome (NaN); raise InvalidInput or ModelMisbehaved where the rest
        cannot be evaluated, never naming a value."""
        truth, scores = _vector("y", y), _vector("score", score)
        masks = {name: np.asarray(mask, dtype=np.bool_) for name, mask in (populations or {}).items()}
        for name, column in {"score": scores, **masks}.items():
            if column.shape != truth.shape:
                raise InvalidInput(
                    f"{name} has shape {column.shape} and y has {truth.shape}; pass the same rows"
                )
        known = ~np.isnan(truth)
        truth, scores = truth[known], scores[known]
        check(contract.task, truth, scores, contract.name)
        kept = {name: mask[known] for name, mask in masks.items()}
        return cls(contract.task, contract.output.threshold, truth, scores, kept)

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def positives(self) -> int:
        """The rows whose outcome is 1; means something for a classification only."""
        return int(np.sum(self.y == 1))

    def within(self, mask: Mask) -> Holdout:
        """The rows of `mask` [n], without populations of their own."""
        return Holdout(self.task, self.threshold, self.y[mask], self.score[mask], {})


def _vector(name: str, values: ArrayLike) -> Floats:
    """`values` as float64 [n]; a model's output [n, 1] counts as [n]."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidInput(f"{name} has shape {array.shape}; pass one number a row")
    return array


def check(task: Task, y: Floats, score: Floats, model: str = "the model") -> None:
    """Outcomes `y` [n] and `score` [n] must be finite, for a classification 0 or 1 and a probability.

    Raises InvalidInput for the outcomes and ModelMisbehaved for the scores.
    """
    if not np.all(np.isfinite(y)):
        raise InvalidInput("y holds an infinite outcome; correct it at the source or pass NaN for unknown")
    if unfit := int(np.sum(~np.isfinite(score))):
        why = f"{unfit} of {len(score)} scores are not finite; it must answer every row with a number"
        raise ModelMisbehaved(model, None, why)
    if task == "classification":
        if not np.all((y == 0) | (y == 1)):
            raise InvalidInput(
                "y holds an outcome that is neither 0 nor 1; a classification needs 0, 1 or NaN"
            )
        if np.any((score < 0) | (score > 1)):
            why = "a score lies outside [0, 1]; a classifier must answer a probability, not a logit"
            raise ModelMisbehaved(model, None, why)
