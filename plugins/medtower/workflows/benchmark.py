"""Benchmark one model on Triton against the contract's service levels, with generated rows: nobody's data, nothing on record."""

from __future__ import annotations

from datetime import UTC, datetime

from medtower.adapters.postgres import health, incidents, performance
from medtower.domain.contract import Contract
from medtower.domain.estimate import Estimate, Status
from medtower.domain.incident import Incident
from medtower.domain.metric import METRICS
from medtower.evaluation import kpi
from medtower.workflows.service_levels import measure
from medtower.workflows.tower import Tower

REQUESTS = 500


def benchmark(name: str, tower: Tower | None = None, *, requests: int = REQUESTS) -> dict[str, object]:
    """Measure the service levels of the version that serves, judge and keep them. Returns the figures by metric.

    A figure past its critical bound opens an incident. A second benchmark of the same UTC day and version replaces the first.
    """
    tower = tower or Tower()
    started = datetime.now(UTC)
    with tower.model(name) as model:
        version = model.release.version
        if version is None:
            return {"model": name, "version": None}
        estimates = measure(tower, model.contract, version, requests)
        judged = [(e, _judge(model.contract, e)) for e in estimates]
    moment = datetime.now(UTC)
    performance.save(
        tower.database,
        model=name,
        version=version,
        window_start=started,
        window_end=moment,
        as_of=moment,
        estimates=judged,
        coverage=None,
        kind="benchmark",
    )
    _open_incident(tower, name, version, judged, moment)
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


def _open_incident(
    tower: Tower, name: str, version: int, judged: list[tuple[Estimate, Status]], moment: datetime
) -> None:
    critical = [e for e, s in judged if s is Status.CRITICAL]
    if not critical:
        return
    incidents.open(
        tower.database,
        Incident(
            key=f"benchmark/{name}/{version}/{moment:%Y-%m-%d}",
            model=name,
            version=version,
            kind="availability",
            severity="critical",
            summary=", ".join(f"{e.metric} {e.value:.3g} (n={e.n})" for e in critical),
            opened_at=moment,
        ),
    )
