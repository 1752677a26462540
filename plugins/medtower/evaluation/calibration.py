"""Do probabilities mean what they say: expected calibration error, and the slope and intercept of a logistic recalibration."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from medtower.domain.estimate import CalibrationReport
from medtower.errors import InvalidInput
from medtower.evaluation.holdout import Floats, check
from medtower.statistics.intervals import wilson

MINIMUM = 30
MOST_BINS = 10
ROWS_A_BIN = 50  # with fewer the error of each bin is mostly chance, which adds up to a miscalibration that is not there
_EDGE = 1e-6  # float32 probabilities reach 0 and 1, where the logit is infinite


def calibrate(y: ArrayLike, score: ArrayLike) -> CalibrationReport:
    """Calibration of probabilities `score` [n] for outcomes `y` [n] (0, 1, or NaN for unknown, which is left out).

    ECE: mean of |observed - predicted| over up to ten bins of equal count, weighted by n (Naeini et al. 2015); equal scores share a bin. Slope and
    intercept: logit P(y = 1) = intercept + slope · logit(score), ideal 1 and 0 (Cox 1958, Biometrika 45:562–565). None with fewer than 30
    rows or one class; slope and intercept also None when the scores separate the classes or do not vary.
    `bins`: n, predicted, observed, lower and upper (Wilson, 95 %). Raises InvalidInput when the lengths differ, ModelMisbehaved
    when a score is no probability.
    """
    truth, scores = np.asarray(y, dtype=np.float64).ravel(), np.asarray(score, dtype=np.float64).ravel()
    if truth.shape != scores.shape:
        raise InvalidInput(f"y has {len(truth)} rows and score has {len(scores)}; pass the same rows")
    known = ~np.isnan(truth)
    truth, scores = truth[known], scores[known]
    check("classification", truth, scores)
    n = len(truth)
    if n < MINIMUM or np.all(truth == truth[0]):
        return CalibrationReport(n=n, ece=None, slope=None, intercept=None)
    bins = _bins(truth, scores)
    ece = sum(b["n"] * abs(b["observed"] - b["predicted"]) for b in bins) / n
    slope, intercept = recalibration(truth, scores) or (None, None)
    return CalibrationReport(n=n, ece=ece, slope=slope, intercept=intercept, bins=bins)


def _bins(y: Floats, score: Floats) -> list[dict[str, float | int]]:
    count = int(np.clip(len(y) // ROWS_A_BIN, 2, MOST_BINS))
    edges = np.unique(np.quantile(score, np.arange(1, count) / count))
    place = np.searchsorted(edges, score, side="right")
    return [_bin(y[place == b], score[place == b]) for b in np.unique(place)]


def _bin(y: Floats, score: Floats) -> dict[str, float | int]:
    observed = wilson(int(y.sum()), len(y))
    return {
        "n": len(y),
        "predicted": float(score.mean()),
        "observed": observed.value,
        "lower": observed.lower,
        "upper": observed.upper,
    }


def recalibration(y: Floats, score: Floats) -> tuple[float, float] | None:
    """(slope, intercept) by maximum likelihood with Newton's iteration; None when it has no finite maximum."""
    clipped = np.clip(score, _EDGE, 1 - _EDGE)
    logit = np.log(clipped / (1 - clipped))
    if _separated(logit, y):
        return None
    # centred and scaled: the iteration is then well conditioned whatever the scores' range
    centre, spread = float(logit.mean()), float(logit.std())
    design = np.column_stack([np.ones(len(y)), (logit - centre) / spread])
    a, b = _newton(design, y)
    return b / spread, a - b * centre / spread


def _separated(logit: Floats, y: Floats) -> bool:
    """True when some cut leaves the classes on its two sides (or all scores are equal): no finite maximum (Albert & Anderson 1984)."""
    positive, negative = logit[y == 1], logit[y == 0]
    return bool(positive.min() >= negative.max() or positive.max() <= negative.min())


def _newton(design: Floats, y: Floats) -> tuple[float, float]:
    share = float(y.mean())
    beta: Floats = np.array([math.log(share / (1 - share)), 0.0])
    for _ in range(100):
        step = _step(design, y, beta)
        # the likelihood is concave; halving keeps a long first step from overshooting it
        while _loss(design, y, beta + step) > _loss(design, y, beta) + 1e-12 and np.abs(step).max() > 1e-12:
            step *= 0.5
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    return float(beta[0]), float(beta[1])


def _step(design: Floats, y: Floats, beta: Floats) -> Floats:
    p = 1 / (1 + np.exp(-np.clip(design @ beta, -500, 500)))
    information = (design * (p * (1 - p))[:, None]).T @ design
    return np.asarray(np.linalg.solve(information, design.T @ (y - p)), dtype=np.float64)


def _loss(design: Floats, y: Floats, beta: Floats) -> float:
    eta = design @ beta
    return float(np.sum(np.logaddexp(0, eta) - y * eta))
