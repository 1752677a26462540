"""Is the candidate as right as the incumbent? Speaks as far as outcomes are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medtower.domain.contract import Contract
from medtower.domain.rollout import range_unit
from medtower.domain.verdict import Verdict
from medtower.rollout.comparison import UNBOUNDED, Bounds, Comparison, Evidence, decide, state
from medtower.rollout.look import Look
from medtower.rollout.observed import Arm, Floats, Mask
from medtower.statistics.sequential import proportion
from medtower.statistics.sequential_mean import bounded_mean

NO_LABELS = "no labels yet: label-free tests only"


@dataclass(frozen=True)
class Loss:
    """What the primary metric comes to for one patient, in [0, 1]; `unit` is what 1 means in the unit of the margin."""

    what: str
    unit: float = 1.0
    binary: bool = True


def labelled_quality(look: Look) -> Verdict:
    """The difference of the mean loss of labelled patients.

    Sensitivity, specificity, accuracy and Brier score as they are; every other metric of a classification by the accuracy at the contract's
    threshold, and of a regression by the absolute error, clipped to the output's range: a difference of AUC, F1 or R² between two groups of
    patients is no difference of means, and no bound is known that holds at every look. Outcomes come late and in any order, so only sequences
    that do not depend on the order are used. Watched: a margin of 0.02 takes thousands of labels to show, and the gates have shown it on the
    holdout.
    """
    if look.pairs is not None:
        return state("labelled_quality", True, f"{NO_LABELS} (the shadow answers nobody)", {})
    loss = _loss(look.contract)
    if loss is None:
        return state("labelled_quality", True, UNBOUNDED, {})
    ours, theirs = (_losses(look.contract, loss, arm) for arm in (look.candidate, look.current))
    level, promote = look.budget.whole / 2, look.budget.promote / 2
    lower = _bounds(loss, ours, level)[0] - _bounds(loss, theirs, level)[1]
    upper = _bounds(loss, ours, promote)[1] - _bounds(loss, theirs, promote)[0]
    value = float(ours.mean() - theirs.mean()) * loss.unit if len(ours) and len(theirs) else None
    found = Comparison(loss.what, value, lower * loss.unit, upper * loss.unit, look.margins.quality)
    evidence: Evidence = look.evidence(ours, theirs) | {"metric": loss.what}
    return decide("labelled_quality", found, "watched", evidence, lacking=_lacking(look, ours, theirs))


def sufficient(look: Look) -> bool:
    """Whether both arms have outcomes of enough patients for `labelled_quality` to speak."""
    loss = _loss(look.contract)
    if loss is None or look.pairs is not None:
        return False
    arms = (look.candidate, look.current)
    return not _lacking(look, *(_losses(look.contract, loss, arm) for arm in arms))


def _lacking(look: Look, ours: Floats, theirs: Floats) -> str:
    n, least = min(len(ours), len(theirs)), look.contract.rollout.min_samples
    if not n:
        return NO_LABELS
    return (
        f"{n} labelled patients in the smaller arm, {least} needed: label-free tests only"
        if n < least
        else ""
    )


def _loss(contract: Contract) -> Loss | None:
    primary = contract.gates.primary
    if contract.task == "regression":
        if contract.output.range is None:
            return None
        unit = range_unit(contract, contract.output.range)
        return Loss("rise of the absolute error", unit, binary=False)
    if primary == "brier":
        return Loss("rise of the Brier score", binary=False)
    return Loss(f"drop of the {primary if primary in ('sensitivity', 'specificity') else 'accuracy'}")


def _losses(contract: Contract, loss: Loss, arm: Arm) -> Floats:
    """The loss of each patient's first answered request, once its outcome is known and the metric speaks about it. Not of the first labelled
    one: outcomes come in any order, so another request would take its place after it was counted."""
    first = arm.first(arm.answered)
    first = first[(np.isfinite(arm.outcome) & _spoken_about(contract, arm))[first]]
    prediction, outcome = arm.prediction[first], arm.outcome[first]
    if contract.task == "regression":
        low, high = contract.output.range or (0.0, 1.0)
        clipped = np.clip(prediction, low, high) - np.clip(outcome, low, high)
        errors: Floats = np.abs(clipped) / (high - low)
    elif loss.binary:
        errors = ((prediction >= contract.output.threshold) != (outcome == 1)).astype(np.float64)
    else:
        errors = (np.clip(prediction, 0, 1) - outcome) ** 2
    return errors


def _spoken_about(contract: Contract, arm: Arm) -> Mask:
    positive: Mask = arm.outcome == 1
    negative: Mask = arm.outcome == 0
    if contract.task == "regression":
        return np.ones(len(arm), dtype=np.bool_)
    either: Mask = positive | negative
    return {"sensitivity": positive, "specificity": negative}.get(contract.gates.primary, either)


def _bounds(loss: Loss, values: Floats, alpha: float) -> Bounds:
    if loss.binary:
        return proportion(float(values.sum()), len(values), alpha)
    return bounded_mean(values, alpha, centre=0.0)
