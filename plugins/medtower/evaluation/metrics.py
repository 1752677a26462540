"""The metrics of a model on a holdout, each with n, interval and method; no value where the data do not suffice."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from medtower.domain.contract import Contract
from medtower.domain.estimate import Estimate
from medtower.evaluation.holdout import Holdout
from medtower.evaluation.weighted import confusion, weighted
from medtower.statistics.intervals import Interval, bootstrap, delong_auc, wilson

MINIMUM = 30  # rows for any metric
MINIMUM_COUNTED = 10  # rows in the denominator of a ratio, and in each class for AUC

# given how many of each class there are, the metric does not depend on prevalence: resample within the classes
_WITHIN_CLASSES = ("auc_roc", "sensitivity", "specificity")


def estimates(
    contract: Contract,
    y: ArrayLike,
    score: ArrayLike,
    populations: Mapping[str, ArrayLike],
    *,
    seed: int,
) -> list[Estimate]:
    """Every KPI of the contract, and the Brier score of a classification, on all rows and on each population.

    `y` and `score` are [n], a mask in `populations` is [n]; rows with y NaN are left out. Raises InvalidInput for outcomes and
    ModelMisbehaved for scores that cannot be evaluated.
    """
    holdout = Holdout.of(contract, y, score, populations)
    names = list(contract.kpis)
    if contract.task == "classification" and "brier" not in names:
        names.append("brier")
    parts = {"all": holdout} | {name: holdout.within(mask) for name, mask in holdout.populations.items()}
    return [estimate(m, part, population=p, seed=seed) for p, part in parts.items() for m in names]


def estimate(metric: str, holdout: Holdout, *, population: str = "all", seed: int) -> Estimate:
    """One metric on one holdout. `n` counts the rows the metric speaks about (for sensitivity those with the outcome);
    without a value, `method` says what is lacking."""
    n = counted(metric, holdout)
    if lacking := shortfall(metric, holdout):
        return Estimate(
            metric=metric, population=population, n=n, value=None, lower=None, upper=None, method=lacking
        )
    interval = _interval(metric, holdout, seed)
    return Estimate(
        metric=metric,
        population=population,
        n=n,
        value=interval.value,
        lower=interval.lower,
        upper=interval.upper,
        confidence=interval.confidence,
        method=interval.method,
    )


def point(metric: str, holdout: Holdout) -> float | None:
    """The value alone, or None where the data do not suffice."""
    if shortfall(metric, holdout):
        return None
    return float(weighted(metric, holdout)(np.ones((1, holdout.n)))[0])


def counted(metric: str, holdout: Holdout) -> int:
    """The rows that the metric speaks about: the denominator of a ratio, else all."""
    tp, fp, fn, tn = (int(c) for c in confusion(holdout).sum(axis=0))
    denominators = {"sensitivity": tp + fn, "specificity": tn + fp, "precision": tp + fp, "f1": tp + fp + fn}
    return denominators.get(metric, holdout.n)


def shortfall(metric: str, holdout: Holdout) -> str:
    """What the data lack for this metric, or an empty string."""
    if holdout.n < MINIMUM:
        return f"insufficient data: {holdout.n} rows, {MINIMUM} needed"
    if holdout.task == "classification":
        if holdout.positives in (0, holdout.n):
            return "insufficient data: one class only"
        rarer = min(holdout.positives, holdout.n - holdout.positives)
        relevant = rarer if metric == "auc_roc" else counted(metric, holdout)
        if relevant < MINIMUM_COUNTED:
            return f"insufficient data: {relevant} rows count for {metric}, {MINIMUM_COUNTED} needed"
    elif metric == "r2":
        _, counts = np.unique(holdout.y, return_counts=True)
        if holdout.n - int(counts.max()) < MINIMUM_COUNTED:
            return "insufficient data: the outcome does not vary enough"
    return ""


def strata(metric: str, holdout: Holdout) -> ArrayLike | None:
    """The classes to resample within, or None: what depends on prevalence must let prevalence vary."""
    return holdout.y if metric in _WITHIN_CLASSES else None


def _interval(metric: str, holdout: Holdout, seed: int) -> Interval:
    tp, fp, fn, tn = (int(c) for c in confusion(holdout).sum(axis=0))
    proportions = {
        "accuracy": (tp + tn, holdout.n),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "precision": (tp, tp + fp),
    }
    if metric in proportions:
        return wilson(*proportions[metric])
    if metric == "f1":
        return _f1(tp, fp + fn)
    if metric == "auc_roc":
        return delong_auc(holdout.y, holdout.score)
    if metric == "rmse":
        return _root(_interval("mse", holdout, seed))
    return bootstrap(weighted(metric, holdout), holdout.n, seed=seed, strata=strata(metric, holdout))


def _f1(tp: int, wrong: int) -> Interval:
    """F1 is 2p/(1 + p) of the proportion p = TP/(TP + FP + FN), so Wilson's bounds map onto it (Lam, Gopal & Qian 2023, arXiv 2309.14621)."""
    p = wilson(tp, tp + wrong)
    value, lower, upper = (2 * share / (1 + share) for share in (p.value, p.lower, p.upper))
    return Interval(value, lower, upper, p.confidence, "Wilson on F1/(2 - F1)")


def _root(squared: Interval) -> Interval:
    """BCa bounds follow a monotone transformation, so those of the RMSE are the roots of those of the MSE."""
    value, lower, upper = (math.sqrt(v) for v in (squared.value, squared.lower, squared.upper))
    return Interval(value, lower, upper, squared.confidence, squared.method)
