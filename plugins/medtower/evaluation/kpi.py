"""What an estimate means against its promise. A threshold without an interval is noise: a breach needs all of it beyond."""

from __future__ import annotations

from medtower.domain.contract import Contract, Kpi
from medtower.domain.estimate import Estimate, Status
from medtower.domain.metric import METRICS, Metric


def judge(contract: Contract, estimate: Estimate) -> Status:
    """`status` against what `contract` promises of the metric, as a KPI or a service level; OK when it promises nothing and the value is known."""
    promised = contract.kpis.get(estimate.metric) or contract.service_levels.get(estimate.metric)
    if promised is None:
        return Status.OK if estimate.known else Status.INSUFFICIENT
    return status(estimate, promised, METRICS[estimate.metric])


def status(estimate: Estimate, kpi: Kpi, metric: Metric) -> Status:
    """CRITICAL or WARNING when even the better bound of the interval lies beyond that threshold, INSUFFICIENT without a value, else OK."""
    best = estimate.upper if metric.higher_is_better else estimate.lower
    if not estimate.known or best is None:
        return Status.INSUFFICIENT
    if metric.breached(best, kpi.critical):
        return Status.CRITICAL
    return Status.WARNING if metric.breached(best, kpi.warning) else Status.OK
