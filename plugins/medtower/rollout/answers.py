"""Does the candidate answer like the incumbent? Needs no labels."""

from __future__ import annotations

import numpy as np

from medtower.domain.contract import Contract
from medtower.domain.rollout import range_unit
from medtower.domain.verdict import Verdict
from medtower.rollout.comparison import UNBOUNDED, Bounds, Comparison, decide, state
from medtower.rollout.look import Look
from medtower.rollout.observed import Floats, Mask, Pairs
from medtower.statistics.sequential import Mixture, proportion
from medtower.statistics.sequential_mean import bounded_mean

_RELATIVE = 0.1


def agreement(look: Look, pairs: Pairs) -> Verdict:
    """The share of patients to whom the candidate would have said something else: the other side of the threshold, or a number further off than
    the quality margin (without a range, than 10 % of the number).

    Required in the shadow. A better model must disagree somewhere, so only the contract's margin, not zero, is worse here.
    """
    first, margin = pairs.first(pairs.answered), look.margins.disagreement
    differs = _differs(look.contract, pairs.current[first], pairs.candidate[first])
    n, k = len(first), int(differs.sum())
    lower = proportion(k, n, look.budget.whole, Mixture.around(margin))[0]
    upper = proportion(k, n, look.budget.promote, Mixture.around(margin))[1]
    found = Comparison("share of disagreement", k / n if n else None, lower, upper, margin, equal=margin)
    return decide(
        "agreement", found, "required", look.evidence(first, first), lacking=look.lacking(first, first)
    )


def prediction_drift(look: Look) -> Verdict:
    """How far the share of positive answers (regression: the mean number, as a share of the output's range) differs between the arms.

    It cannot differ by more than the share of answers that differ, plus, for numbers, the difference that counts as agreement. So beyond the
    disagreement that the contract tolerates it proves what only pairs could show directly, and that is worse.
    """
    margin = look.margins.disagreement
    if look.contract.task == "regression" and look.contract.output.range is not None:
        margin += look.margins.quality / range_unit(look.contract, look.contract.output.range)
    samples = [
        _answers(look.contract, a.prediction[a.first(a.answered)]) for a in (look.candidate, look.current)
    ]
    ours, theirs = samples
    if ours is None or theirs is None:
        return state("prediction_drift", True, UNBOUNDED, {})
    evidence = look.evidence(ours, theirs)
    low, high = _difference(look.contract, ours, theirs, look.budget.whole)
    lower = max(low, -high, 0.0)
    low, high = _difference(look.contract, ours, theirs, look.budget.promote)
    value = abs(float(ours.mean() - theirs.mean())) if len(ours) and len(theirs) else None
    found = Comparison("drift of the answers", value, lower, max(high, -low), margin, equal=margin)
    return decide("prediction_drift", found, "watched", evidence, lacking=look.lacking(ours, theirs))


def estimated_performance(look: Look, *, labelled: bool) -> Verdict:
    """The accuracy that the probabilities themselves predict: the mean of p on the positive and 1 - p on the negative side of the threshold
    (average confidence: Garg et al. 2022, ICLR, doi:10.48550/arXiv.2201.04234). True as far as both versions are calibrated, so it takes nothing back,
    and gives way to outcomes where enough are known (`labelled`).
    """
    if look.contract.task == "regression":
        return state("estimated_performance", True, "not estimated: a number carries no confidence", {})
    if labelled:
        return state("estimated_performance", True, "not needed: enough outcomes are known", {})
    margin = look.margins.quality
    ours, theirs = _expected(look)
    level, promote = look.budget.whole / 2, look.budget.promote / 2
    if look.pairs is None:
        lower = bounded_mean(theirs, level)[0] - bounded_mean(ours, level)[1]
        upper = bounded_mean(theirs, promote)[1] - bounded_mean(ours, promote)[0]
    else:  # the same patients: the difference of each varies far less than the arms
        drops = (theirs - ours + 1) / 2
        lower = 2 * bounded_mean(drops, 2 * level)[0] - 1
        upper = 2 * bounded_mean(drops, 2 * promote)[1] - 1
    value = float(theirs.mean() - ours.mean()) if len(ours) and len(theirs) else None
    found = Comparison("drop of the estimated accuracy", value, lower, upper, margin)
    return decide(
        "estimated_performance",
        found,
        "advisory",
        look.evidence(ours, theirs),
        lacking=look.lacking(ours, theirs),
    )


def _differs(contract: Contract, current: Floats, candidate: Floats) -> Mask:
    threshold, limits = contract.output.threshold, contract.output.range
    if contract.task == "classification":
        differs: Mask = (current >= threshold) != (candidate >= threshold)
        return differs
    tolerated: Floats = _RELATIVE * np.abs(current)
    if limits is not None:
        share = contract.rollout.margins.quality / range_unit(contract, limits)
        tolerated = np.full(len(current), share * (limits[1] - limits[0]))
    further: Mask = np.abs(candidate - current) > tolerated
    return further


def _answers(contract: Contract, prediction: Floats) -> Floats | None:
    """Positive or not; a number clipped to the output's range and scaled to [0, 1]; None without a range."""
    if contract.task == "classification":
        return (prediction >= contract.output.threshold).astype(np.float64)
    if contract.output.range is None:
        return None
    low, high = contract.output.range
    return (np.clip(prediction, low, high) - low) / (high - low)


def _difference(contract: Contract, ours: Floats, theirs: Floats, level: float) -> Bounds:
    """The bounds of ours minus theirs, both together at `level`."""
    if contract.task == "regression":
        bounds = [bounded_mean(v, level / 4) for v in (ours, theirs)]
    else:
        bounds = [proportion(float(v.sum()), len(v), level / 2) for v in (ours, theirs)]
    return bounds[0][0] - bounds[1][1], bounds[0][1] - bounds[1][0]


def _expected(look: Look) -> tuple[Floats, Floats]:
    threshold = look.contract.output.threshold

    def right(p: Floats) -> Floats:
        kept = np.clip(p, 0, 1)
        return np.where(kept >= threshold, kept, 1 - kept)

    if look.pairs is not None:
        first = look.pairs.first(look.pairs.answered)
        return right(look.pairs.candidate[first]), right(look.pairs.current[first])
    return (
        right(look.candidate.prediction[look.candidate.first(look.candidate.answered)]),
        right(look.current.prediction[look.current.first(look.current.answered)]),
    )
