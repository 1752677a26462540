"""What an estimate means against its promise. A threshold without an interval is noise: a breach needs all of it beyond."""

from __future__ import annotations

from medtower.domain.contract import Kpi
from medtower.domain.estimate import Estimate, Status
from medtower.domain.metric import Metric


def status(estimate: Estimate, kpi: Kpi, metric: Metric) -> Status:
    """CRITICAL or WARNING when even the better bound of the interval lies beyond that threshold, INSUFFICIENT without a value, else OK."""
    best = estimate.upper if metric.higher_is_better else estimate.lower
    if not estimate.known or best is None:
        return Status.INSUFFICIENT
    if metric.breached(best, kpi.critical):
        return Status.CRITICAL
    return Status.WARNING if metric.breached(best, kpi.warning) else Status.OK
