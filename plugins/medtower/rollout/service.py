"""Is the candidate as reliable and as fast as the incumbent? Required: nobody has measured that before it serves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medtower.domain.verdict import Verdict
from medtower.rollout.comparison import Bounds, Comparison, Evidence, decide
from medtower.rollout.look import Look
from medtower.rollout.observed import Arm, Floats, Mask, Pairs
from medtower.statistics.sequential import Mixture, proportion, quantile

Samples = tuple[Floats, Floats]  # the candidate's and the incumbent's values, one a patient


def errors(look: Look) -> Verdict:
    """The difference of the shares of patients whose first request failed at the version."""
    margin = look.margins.error_rate
    mixture = Mixture.around(margin)

    def compared(samples: Samples, level: float) -> Comparison:
        ours, theirs = samples
        lower = _share(ours, level / 2, mixture)[0] - _share(theirs, level / 2, mixture)[1]
        promote = look.budget.promote / 2
        upper = _share(ours, promote, mixture)[1] - _share(theirs, promote, mixture)[0]
        value = float(ours.mean() - theirs.mean()) if len(ours) and len(theirs) else None
        return Comparison("error rate against the incumbent's", value, lower, upper, margin)

    whole = (_failed(look.scored), _failed(look.current))
    found = compared(whole, look.budget.whole)
    for day, (ours, theirs) in _later(look):
        late = compared(
            (_failed(look.candidate, ours), _failed(look.current, theirs)), look.budget.later(day)
        )
        found = late if late.worse and not found.worse else found
    evidence: Evidence = _means("error rate", whole) | look.evidence(*whole)
    return decide("errors", found, "required", evidence, lacking=look.lacking(*whole))


def latency(look: Look) -> Verdict:
    """The ratio of the latency quantiles of answered requests, in the shadow of the same requests. A failure counts in `errors`, not here."""
    q, margin = look.contract.rollout.latency_quantile, look.margins.latency_ratio

    def compared(samples: Samples, level: float) -> Comparison:
        ours, theirs = samples
        lower = _ratio(quantile(ours, q, level / 2)[0], quantile(theirs, q, level / 2)[1], 0.0)
        promote = look.budget.promote / 2
        upper = _ratio(quantile(ours, q, promote)[1], quantile(theirs, q, promote)[0], np.inf)
        value = None
        if len(ours) and len(theirs):
            value = _ratio(float(np.quantile(ours, q)), float(np.quantile(theirs, q)), np.inf)
        return Comparison(f"latency quantile {q:g} as a multiple", value, lower, upper, margin, equal=1.0)

    whole = _latencies(look)
    found = compared(whole, look.budget.whole)
    for day, (ours, theirs) in _later(look):
        samples = _milliseconds(look.candidate, ours), _milliseconds(look.current, theirs)
        late = compared(samples, look.budget.later(day))
        found = late if late.worse and not found.worse else found
    evidence: Evidence = look.evidence(*whole) | {"quantile": q}
    for name, values in zip(("candidate", "current"), whole, strict=True):
        evidence[f"{name} ms"] = float(np.quantile(values, q)) if len(values) else None
    return decide("latency", found, "required", evidence, lacking=look.lacking(*whole))


def _later(look: Look) -> Sequence[tuple[int, tuple[Mask, Mask]]]:
    """Every day of the stage after the first by itself, (day, masks of the arms): patients of the first day count there with what became of
    them later, so harm that begins late is seen although each patient counts once in the stage as one."""
    if look.pairs is not None or not len(look.candidate) or not len(look.current):
        return []
    start = min(look.candidate.seconds[0], look.current.seconds[0])
    ours, theirs = look.candidate.days(start), look.current.days(start)
    return [(day, both) for day, both in enumerate(zip(ours, theirs, strict=False)) if day]


def _failed(observed: Arm | Pairs, of: Mask | None = None) -> Floats:
    return observed.failed[observed.first(of)].astype(np.float64)


def _latencies(look: Look) -> Samples:
    if look.pairs is None:
        return _milliseconds(look.candidate), _milliseconds(look.current)
    pairs = look.pairs
    timed = ~pairs.failed & np.isfinite(pairs.latency_ms) & np.isfinite(pairs.current_latency_ms)
    first = pairs.first(timed)
    return pairs.latency_ms[first], pairs.current_latency_ms[first]


def _milliseconds(arm: Arm, of: Mask | None = None) -> Floats:
    timed = ~arm.failed & np.isfinite(arm.latency_ms)
    return arm.latency_ms[arm.first(timed if of is None else timed & of)]


def _share(values: Floats, alpha: float, mixture: Mixture) -> Bounds:
    return proportion(float(values.sum()), len(values), alpha, mixture)


def _ratio(above: float, below: float, without: float) -> float:
    """`without` where a bound is missing or the divisor is no time at all."""
    return above / below if below > 0 and np.isfinite(above) and np.isfinite(below) else without


def _means(what: str, samples: Samples) -> Evidence:
    names = ("candidate", "current")
    return {f"{n} {what}": float(v.mean()) if len(v) else None for n, v in zip(names, samples, strict=True)}
