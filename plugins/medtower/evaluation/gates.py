"""The gates a candidate passes before it may be proposed. Each is a verdict with its evidence; what is not known is HOLD, never PROMOTE."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from medtower.domain.contract import Contract
from medtower.domain.estimate import Estimate, Status
from medtower.domain.metric import METRICS
from medtower.domain.verdict import Decision, Verdict
from medtower.evaluation.calibration import calibrate
from medtower.evaluation.holdout import Floats, Holdout
from medtower.evaluation.kpi import status
from medtower.evaluation.metrics import estimate, point, shortfall, strata
from medtower.evaluation.weighted import weighted
from medtower.statistics.intervals import bootstrap

Evidence = dict[str, float | int | str | None]


def run(
    contract: Contract,
    y: ArrayLike,
    candidate: ArrayLike,
    champion: ArrayLike | None,
    populations: Mapping[str, ArrayLike],
    *,
    train: tuple[ArrayLike, ArrayLike],
    edge_scores: ArrayLike,
    seed: int,
) -> list[Verdict]:
    """The verdicts regression, calibration, populations, edge_cases, privacy and targets, in this order.

    `y`, `candidate` and `champion` are [n] on the same holdout rows, masks are [n], `train` is (y, the candidate's score) on the rows it was
    fitted to, `edge_scores` [m] the candidate's answers to rows at the borders of the contract. Raises InvalidInput for
    outcomes and ModelMisbehaved for scores that cannot be evaluated.
    """
    holdout = Holdout.of(contract, y, candidate, populations)
    incumbent = None if champion is None else Holdout.of(contract, y, champion)
    return [
        regression(contract, holdout, incumbent, seed),
        calibration(contract, holdout),
        fairness(contract, holdout, seed),
        edge_cases(contract, np.asarray(edge_scores, dtype=np.float64)),
        privacy(contract, Holdout.of(contract, *train), holdout),
        targets(contract, holdout, seed),
    ]


def regression(contract: Contract, holdout: Holdout, champion: Holdout | None, seed: int) -> Verdict:
    """Non-inferiority on the primary metric: the lower bound of the candidate's gain over the champion lies above -margin.

    The gain is counted in the good direction of the metric, and its interval is a bootstrap of the same rows for both (paired).
    """
    primary, margin = contract.gates.primary, contract.gates.margin
    if champion is None:
        return _verdict(
            "regression", True, "first version: there is no champion to compare with", {"n": holdout.n}
        )
    lacking = _few(contract, holdout) or shortfall(primary, holdout) or shortfall(primary, champion)
    if lacking:
        return _verdict("regression", False, lacking, {"n": holdout.n})
    better = 1.0 if METRICS[primary].higher_is_better else -1.0
    ours, theirs = weighted(primary, holdout), weighted(primary, champion)

    def gain(weights: Floats) -> Floats:
        return better * (ours(weights) - theirs(weights))

    interval = bootstrap(gain, holdout.n, seed=seed, strata=strata(primary, holdout))
    passed = interval.lower > -margin
    reason = (
        f"{primary}: gain over the champion {interval.value:.4g} (95 % interval {interval.lower:.4g} to "
        f"{interval.upper:.4g}), {'above' if passed else 'not above'} the margin of {-margin:g}"
    )
    evidence: Evidence = {
        "metric": primary,
        "n": holdout.n,
        "candidate": point(primary, holdout),
        "champion": point(primary, champion),
        "gain": interval.value,
        "lower": interval.lower,
        "upper": interval.upper,
        "margin": margin,
        "method": f"paired {interval.method}",
    }
    return _verdict("regression", passed, reason, evidence)


def calibration(contract: Contract, holdout: Holdout) -> Verdict:
    """The expected calibration error is at most `max_ece`; a regression model has no probability to calibrate."""
    if contract.task == "regression":
        reason = "does not apply: the model answers a number, not a probability"
        return _verdict("calibration", True, reason, {"n": holdout.n})
    found, most = calibrate(holdout.y, holdout.score), contract.gates.max_ece
    evidence: Evidence = {
        "n": found.n,
        "ece": found.ece,
        "slope": found.slope,
        "intercept": found.intercept,
        "max_ece": most,
    }
    if lacking := _few(contract, holdout):
        return _verdict("calibration", False, lacking, evidence)
    if found.ece is None:
        return _verdict("calibration", False, "insufficient data: one class only", evidence)
    passed = found.ece <= most
    reason = f"expected calibration error {found.ece:.4f}, {'at most' if passed else 'more than'} {most:g}"
    return _verdict("calibration", passed, reason, evidence)


def fairness(contract: Contract, holdout: Holdout, seed: int) -> Verdict:
    """No population is worse than the whole by more than `max_population_gap` even at the better bound of its interval.

    A population too small for a number is named and does not fail the gate.
    """
    primary, most = contract.gates.primary, contract.gates.max_population_gap
    if not holdout.populations:
        return _verdict("populations", True, "the contract names no populations", {"n": holdout.n})
    whole = point(primary, holdout)
    if whole is None:
        return _verdict("populations", False, shortfall(primary, holdout), {"n": holdout.n})
    found = [
        estimate(primary, holdout.within(mask), population=name, seed=seed)
        for name, mask in holdout.populations.items()
    ]
    small = ", ".join(e.population for e in found if not e.known)
    gaps = {e.population: gap for e in found if (gap := _gap(e, whole)) is not None}
    evidence: Evidence = {"metric": primary, "overall": whole, "max_population_gap": most}
    evidence |= {f"gap of {name}": gap for name, gap in gaps.items()}
    if small:
        evidence["insufficient data"] = small
    worse = [name for name, gap in gaps.items() if gap > most]
    reason = (
        f"{primary}: {len(gaps)} populations compared with the whole, none is worse by more than {most:g}"
    )
    if worse:
        reason = f"{primary}: {', '.join(worse)} is worse than the whole by more than {most:g}"
    return _verdict(
        "populations", not worse, reason + (f"; insufficient data for {small}" if small else ""), evidence
    )


def _gap(found: Estimate, whole: float) -> float | None:
    """How far the better bound of a population's interval is worse than the whole; negative when it is not, None when it is not known."""
    higher = METRICS[found.metric].higher_is_better
    best = found.upper if higher else found.lower
    if best is None:
        return None
    return whole - best if higher else best - whole


def edge_cases(contract: Contract, scores: Floats) -> Verdict:
    """Every answer at the borders of the contract is finite and inside [0, 1], or inside the output's range."""
    low, high = (
        (0.0, 1.0) if contract.task == "classification" else contract.output.range or (-math.inf, math.inf)
    )
    finite = scores[np.isfinite(scores)]
    unfit, outside = scores.size - finite.size, int(np.sum((finite < low) | (finite > high)))
    evidence: Evidence = {"n": scores.size, "not finite": unfit, "out of range": outside}
    if not scores.size:
        return _verdict("edge_cases", False, "insufficient data: no edge row was scored", evidence)
    reason = f"{scores.size} edge rows: {unfit} answers not finite, {outside} outside [{low:g}, {high:g}]"
    return _verdict("edge_cases", not unfit and not outside, reason, evidence)


def privacy(contract: Contract, train: Holdout, holdout: Holdout) -> Verdict:
    """The primary metric is not better on the rows the model was fitted to by more than `max_memorisation`.

    A model that knows its training patients by heart can be asked who they were (Yeom et al. 2018, IEEE CSF: membership advantage grows with the gap).
    """
    primary, most = contract.gates.primary, contract.gates.max_memorisation
    seen, unseen = point(primary, train), point(primary, holdout)
    if seen is None or unseen is None:
        lacking = shortfall(primary, train) or shortfall(primary, holdout)
        return _verdict("privacy", False, lacking, {"n": holdout.n, "n_train": train.n})
    gap = seen - unseen if METRICS[primary].higher_is_better else unseen - seen
    evidence: Evidence = {
        "metric": primary,
        "n": holdout.n,
        "n_train": train.n,
        "train": seen,
        "holdout": unseen,
        "gap": gap,
        "max_memorisation": most,
    }
    passed = gap <= most
    reason = (
        f"{primary}: better on training rows by {gap:.4g}, {'at most' if passed else 'more than'} {most:g}"
    )
    return _verdict("privacy", passed, reason, evidence)


def targets(contract: Contract, holdout: Holdout, seed: int) -> Verdict:
    """No KPI is critical, and every KPI is known."""
    found = {m: estimate(m, holdout, seed=seed) for m in contract.kpis}
    states = {m: status(e, contract.kpis[m], METRICS[m]) for m, e in found.items()}
    evidence: Evidence = {"n": holdout.n}
    for name, state in states.items():
        evidence |= {name: found[name].value, f"{name} status": str(state)}
    if lacking := _few(contract, holdout):
        return _verdict("targets", False, lacking, evidence)
    named = {s: ", ".join(m for m, state in states.items() if state is s) for s in Status}
    if critical := named[Status.CRITICAL]:
        return _verdict("targets", False, f"critical: {critical}", evidence)
    if unknown := named[Status.INSUFFICIENT]:
        return _verdict("targets", False, f"insufficient data: {unknown}", evidence)
    warning = named[Status.WARNING]
    return _verdict(
        "targets", True, "no KPI is critical" + (f"; warning: {warning}" if warning else ""), evidence
    )


def _few(contract: Contract, holdout: Holdout) -> str:
    least = contract.gates.min_samples
    return f"insufficient data: {holdout.n} rows, {least} needed" if holdout.n < least else ""


def _verdict(name: str, passed: bool, reason: str, evidence: Evidence) -> Verdict:
    decision = Decision.PROMOTE if passed else Decision.HOLD
    return Verdict(kind="gate", name=name, decision=decision, reason=reason, evidence=evidence)
