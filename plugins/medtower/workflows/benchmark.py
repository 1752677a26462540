"""Benchmark one model on Triton against the contract's service levels, with generated rows: nobody's data, nothing on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from medtower.adapters.postgres import health, performance
from medtower.domain.contract import Contract
from medtower.domain.estimate import Estimate, Status
from medtower.domain.metric import METRICS
from medtower.evaluation import kpi
from medtower.workflows.service_levels import measure
from medtower.workflows.tower import Tower

REQUESTS = 500


def benchmark(name: str, tower: Tower | None = None, *, requests: int = REQUESTS) -> dict[str, object]:
    """Measure the service levels of the version that serves, judge and keep them. Returns the figures by metric."""
    tower = tower or Tower()
    moment = datetime.now(UTC)
    with tower.model(name) as model:
        version = model.release.version
        if version is None:
            return {"model": name, "version": None}
        estimates = measure(tower, model.contract, version, requests)
        judged = [(e, _judge(model.contract, e)) for e in estimates]
    performance.save(
        tower.database,
        model=name,
        version=version,
        window_start=moment - timedelta(minutes=1),
        window_end=moment,
        as_of=moment,
        estimates=judged,
        coverage=None,
    )
    health.record(tower.database, "benchmark", moment, model=name)
    return {
        "model": name,
        "version": version,
        **{e.metric: e.value for e in estimates},
        "status": [s.value for _, s in judged],
    }


def _judge(contract: Contract, estimate: Estimate) -> Status:
    promised = contract.service_levels.get(estimate.metric)
    if promised is None:
        return Status.OK if estimate.known else Status.INSUFFICIENT
    return kpi.status(estimate, promised, METRICS[estimate.metric])
