"""Was there enough traffic, did it go where the plan says, and has the stage held long enough? None of them can take a version back."""

from __future__ import annotations

import numpy as np

from medtower.domain.verdict import Verdict
from medtower.rollout.comparison import Evidence, state
from medtower.rollout.look import Look
from medtower.rollout.observed import Arm
from medtower.statistics.sequential import Mixture, log_evidence


def volume(look: Look) -> Verdict:
    """Patients seen since the stage began. None, or too few: HOLD."""
    ours, theirs = look.scored.first(), look.current.first()
    evidence: Evidence = look.evidence(ours, theirs) | {"min_samples": look.contract.rollout.min_samples}
    if not look.counted(ours, theirs):
        arm = "candidate" if not len(ours) else "incumbent"
        return state("traffic", False, f"no traffic: the {arm} has scored nothing in this stage", evidence)
    lacking = look.lacking(ours, theirs)
    return state("traffic", not lacking, lacking or f"{len(ours)} patients of the candidate", evidence)


def sample_ratio(look: Look) -> Verdict:
    """Is the split of patients the planned one? Otherwise something chooses who gets which version, and no comparison can be trusted: HOLD.

    Sequential sample ratio mismatch test of Lindon & Malek 2022 (NeurIPS, doi:10.48550/arXiv.2011.03567) for two arms. A patient counts in the
    arm that was first; who is in both was moved, by the circuit breaker or at the border of two stages.
    """
    ours, theirs, moved = _assigned(look.candidate, look.current)
    evidence: Evidence = {
        "patients candidate": ours,
        "patients current": theirs,
        "patients in both": moved,
        "planned share": look.share,
        "alpha": look.budget.sample_ratio,
    }
    n = ours + theirs
    if not n:
        return state("sample_ratio", False, "no traffic", evidence)
    against = float(log_evidence(ours, n, look.share, Mixture.around(look.share)))
    evidence |= {"value": ours / n, "log evidence": against}
    passed = against < -np.log(look.budget.sample_ratio)
    split = (
        f"{ours} of {n} patients ({100 * ours / n:.3g} %) are the candidate's, {100 * look.share:g} % planned"
    )
    reason = split if passed else f"sample ratio mismatch, the arms cannot be compared: {split}"
    return state("sample_ratio", passed, reason, evidence)


def _assigned(candidate: Arm, current: Arm) -> tuple[int, int, int]:
    """How many patients were first in the candidate's arm, how many in the incumbent's, and how many are in both."""
    ours, theirs = _first_seen(candidate), _first_seen(current)
    both = ours.keys() & theirs.keys()
    later = sum(ours[s] > theirs[s] for s in both)
    return len(ours) - later, len(theirs) - (len(both) - later), len(both)


def _first_seen(arm: Arm) -> dict[str, float]:
    first = arm.first()
    return dict(zip(arm.subjects[first].tolist(), arm.seconds[first].tolist(), strict=True))


def hold(look: Look, held_hours: float) -> Verdict:
    """Has the stage lasted as long as was approved?"""
    needed = look.plan.hold_of(look.stage)
    evidence: Evidence = {"value": held_hours, "margin": needed}
    return state("hold", held_hours >= needed, f"held for {held_hours:.3g} h of {needed:g} h", evidence)
