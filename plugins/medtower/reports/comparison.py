"""What changed from one evaluation to the next, metric by metric, with an interval for the change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from medtower.domain.estimate import Estimate, EvaluationReport


@dataclass(frozen=True)
class Change:
    """`difference` is new minus old in the metric's unit, with bounds; None where either side has no number."""

    metric: str
    new: Estimate
    old: Estimate | None
    difference: float | None
    lower: float | None
    upper: float | None


def changes(new: EvaluationReport, old: EvaluationReport | None) -> list[Change]:
    """Each metric of the whole cohort in `new`, beside `old`, in the order of `new`."""
    return [change(e, old.get(e.metric) if old else None) for e in new.estimates if e.population == "all"]


def change(new: Estimate, old: Estimate | None) -> Change:
    """The difference with an interval recovered from the two intervals (MOVER: Zou & Donner 2008, Stat Med 27:1693–1702).

    It treats the two evaluations as independent. On the same holdout they are not, and the interval is then wider than a paired one.
    """
    if old is None or None in (new.value, new.lower, new.upper, old.value, old.lower, old.upper):
        return Change(new.metric, new, old, None, None, None)
    a, a_low, a_high = _bounds(new)
    b, b_low, b_high = _bounds(old)
    difference = a - b
    lower = difference - math.hypot(a - a_low, b_high - b)
    upper = difference + math.hypot(a_high - a, b - b_low)
    return Change(new.metric, new, old, difference, lower, upper)


def _bounds(estimate: Estimate) -> tuple[float, float, float]:
    return (estimate.value or 0.0, estimate.lower or 0.0, estimate.upper or 0.0)
