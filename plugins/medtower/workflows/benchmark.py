"""Benchmark one model on Triton against the contract's service levels, with generated rows: nobody's data, nothing on record."""

from __future__ import annotations

from datetime import UTC, datetime

from medtower.adapters.postgres import health, incidents, performance
from medtower.domain.estimate import Estimate, Status
from medtower.domain.incident import Incident
from medtower.evaluation import kpi
from medtower.workflows.service_levels import measure
from medtower.workflows.tower import Tower

REQUESTS = 500


def benchmark(name: str, tower: Tower | None = None, *, requests: int = REQUESTS) -> dict[str, object]:
    """Measure the service levels of the version that serves, judge and keep them. Returns the figures by metric.

    A figure past its critical bound opens an incident of its metric, and the first that is well again closes it. A second benchmark of the
    same UTC day and version replaces the first.
    """
    tower = tower or Tower()
    started = datetime.now(UTC)
    with tower.model(name) as model:
        version = model.release.version
        if version is None:
            _close_incidents(tower, name, None, [], started)
            return {"model": name, "version": None}
        estimates = measure(tower, model.contract, version, requests)
        judged = [(e, kpi.judge(model.contract, e)) for e in estimates]
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
    _close_incidents(tower, name, version, [e for e, s in judged if s is Status.OK], moment)
    _open_incidents(tower, name, version, [e for e, s in judged if s is Status.CRITICAL], moment)
    health.record(tower.database, "benchmark", moment, model=name)
    return {
        "model": name,
        "version": version,
        **{e.metric: e.value for e in estimates},
        "status": [s.value for _, s in judged],
    }


def _close_incidents(
    tower: Tower, name: str, version: int | None, healthy: list[Estimate], moment: datetime
) -> None:
    """A version's fault is over when it no longer serves, or when the metric is healthy: not while it warns or is not known."""
    well = {e.metric: e for e in healthy}
    for incident in _open(tower, name):
        metric = _metric(incident)
        if incident.version != version:
            resolution = f"version {version} serves instead" if version else "no version serves"
        elif metric in well:
            resolution = f"measured again: {_told(well[metric])}"
        else:
            continue
        incidents.close(tower.database, incident.key, at=moment, resolution=resolution)


def _open_incidents(
    tower: Tower, name: str, version: int, critical: list[Estimate], moment: datetime
) -> None:
    """One a metric for as long as it lasts. The key has the time, so that a fault that comes back the same day is told again."""
    known = {_metric(incident) for incident in _open(tower, name)}
    for estimate in critical:
        if estimate.metric not in known:
            incident = Incident(
                key=f"benchmark/{name}/{version}/{estimate.metric}/{moment:%Y-%m-%dT%H:%M:%S.%fZ}",
                model=name,
                version=version,
                kind="availability",
                severity="critical",
                summary=_told(estimate),
                opened_at=moment,
            )
            incidents.open(tower.database, incident)


def _open(tower: Tower, name: str) -> list[Incident]:
    found = incidents.find(tower.database, name, only_open=True)
    return [i for i in found if i.key.startswith("benchmark/")]


def _metric(incident: Incident) -> str:
    return incident.key.split("/")[3]


def _told(estimate: Estimate) -> str:
    return f"{estimate.metric} {estimate.value:.3g} (n={estimate.n})"
