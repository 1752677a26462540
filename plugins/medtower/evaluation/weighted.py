"""Metrics as functions of row weights: what the bootstrap resamples, and with weights of one the metric itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medtower.evaluation.holdout import Floats, Holdout

Weighted = Callable[[Floats], Floats]


def confusion(holdout: Holdout) -> Floats:
    """Indicators [n, 4] of true positive, false positive, false negative, true negative; positive is score ≥ threshold."""
    truth, answer = holdout.y == 1, holdout.score >= holdout.threshold
    cells = [truth & answer, ~truth & answer, truth & ~answer, ~truth & ~answer]
    return np.column_stack(cells).astype(np.float64)


def weighted(metric: str, holdout: Holdout) -> Weighted:
    """The metric as a function of weights [b, n] → [b]; NaN where a resample leaves it undefined."""
    if metric == "auc_roc":
        return _auc(holdout)
    if metric in _RATIOS:
        cells, (over, under) = confusion(holdout), _RATIOS[metric]
        return lambda weights: _ratio(weights @ (cells @ over), weights @ (cells @ under))
    error = holdout.score - holdout.y
    if metric == "r2":
        return _r2(holdout.y, error**2)
    if metric == "rmse":
        return lambda weights: np.sqrt(_mean(weights, error**2))
    column = np.abs(error) if metric == "mae" else error**2  # the Brier score is the MSE of a probability
    return lambda weights: _mean(weights, column)


# coefficients on (true positive, false positive, false negative, true negative) of numerator and denominator
_RATIOS: dict[str, tuple[Floats, Floats]] = {
    "accuracy": (np.array([1.0, 0, 0, 1]), np.array([1.0, 1, 1, 1])),
    "sensitivity": (np.array([1.0, 0, 0, 0]), np.array([1.0, 0, 1, 0])),
    "specificity": (np.array([0.0, 0, 0, 1]), np.array([0.0, 1, 0, 1])),
    "precision": (np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0])),
    "f1": (np.array([2.0, 0, 0, 0]), np.array([2.0, 1, 1, 0])),
}


def _ratio(over: Floats, under: Floats) -> Floats:
    return np.divide(over, under, out=np.full_like(over, np.nan), where=under > 0)


def _mean(weights: Floats, column: Floats) -> Floats:
    return _ratio(weights @ column, weights.sum(axis=1))


def _r2(y: Floats, squared_error: Floats) -> Weighted:
    centred = y - y.mean()  # the variance as a difference of moments loses its digits unless y is centred

    def r2(weights: Floats) -> Floats:
        variance = _mean(weights, centred**2) - _mean(weights, centred) ** 2
        return 1 - _ratio(_mean(weights, squared_error), variance)

    return r2


def _auc(holdout: Holdout) -> Weighted:
    order = np.argsort(holdout.score, kind="stable")
    _, starts = np.unique(holdout.score[order], return_index=True)
    positive = holdout.y[order]

    def auc(weights: Floats) -> Floats:
        ordered = weights[:, order]
        hits = np.add.reduceat(ordered * positive, starts, axis=1)
        misses = np.add.reduceat(ordered * (1 - positive), starts, axis=1)
        # a pair of equal scores counts one half (Mann & Whitney 1947)
        won = np.sum(hits * (np.cumsum(misses, axis=1) - misses / 2), axis=1)
        return _ratio(won, hits.sum(axis=1) * misses.sum(axis=1))

    return auc
