"""Track one model's performance: predictions against the ground truth known today, judged by the contract."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from medtower.adapters.postgres import health, incidents, performance
from medtower.adapters.postgres.predictions import Labelled
from medtower.domain.contract import Contract
from medtower.domain.estimate import Estimate, EvaluationReport, Status
from medtower.domain.incident import Incident
from medtower.domain.metric import METRICS
from medtower.evaluation import kpi
from medtower.evaluation.latency import latency
from medtower.workflows.tower import Model, Tower

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
Judged = tuple[Estimate, Status]


def track(name: str, tower: Tower | None = None, *, as_of: datetime | None = None) -> dict[str, object]:
    """Compute, judge and keep the estimates of the version that serves `name`, as of `as_of` (default: now).

    What was tracked on the same UTC day for the same version is replaced. Returns a summary without any patient's data.
    """
    tower = tower or Tower()
    moment = as_of or datetime.now(UTC)
    with tower.model(name) as model:
        if model.release.version is None:
            _close_incidents(tower, name, None, moment)
            return {"model": name, "version": None, "status": Status.INSUFFICIENT.value}
        return _track(tower, model, model.release.version, moment)


def _track(tower: Tower, model: Model, version: int, moment: datetime) -> dict[str, object]:
    contract = model.contract
    start = moment - timedelta(days=contract.tracking.window_days)
    rows = tower.predictions.labelled(contract.name, version, start, moment, moment)
    served = tower.predictions.window(contract.name, version, start, moment)
    outcome = np.array(rows["outcome"], dtype=np.float64)
    due_by = moment - timedelta(days=contract.tracking.label_delay_days)
    coverage = label_coverage(rows["event_time"], outcome, due_by)
    judged = _judge(contract, rows, outcome) + _latency(contract, served["latency_ms"])
    performance.save(
        tower.database,
        model=contract.name,
        version=version,
        window_start=start,
        window_end=moment,
        as_of=moment,
        estimates=judged,
        coverage=coverage,
    )
    _close_incidents(tower, contract.name, version, moment)
    _open_incidents(tower, model, version, judged, moment)
    path = _report(tower, contract, version, judged, coverage, start, moment)
    health.record(tower.database, "track_performance", moment, model=contract.name)
    worst = worst_status([s for e, s in judged if e.population == "all"])
    log.info(
        "tracked",
        extra={"model": contract.name, "version": version, "n": len(outcome), "status": worst.value},
    )
    return {
        "model": contract.name,
        "version": version,
        "n": len(outcome),
        "labelled": int(np.sum(~np.isnan(outcome))),
        "status": worst.value,
        "critical": [e.metric for e, s in judged if s is Status.CRITICAL and e.population == "all"],
        "report": str(path),
    }


def worst_status(statuses: list[Status]) -> Status:
    """The gravest of the statuses; nothing known at all is INSUFFICIENT."""
    order = [Status.CRITICAL, Status.WARNING, Status.OK, Status.INSUFFICIENT]
    return min(statuses, key=order.index, default=Status.INSUFFICIENT)


def label_coverage(
    event_time: Sequence[datetime], outcome: NDArray[np.float64], due_by: datetime
) -> float | None:
    """The share of the predictions made before `due_by` whose `outcome` [n] is known (not NaN); None when none is that old."""
    due = np.array([at < due_by for at in event_time], dtype=bool)
    return float(np.mean(~np.isnan(outcome[due]))) if due.any() else None


def _judge(contract: Contract, rows: Labelled, outcome: NDArray[np.float64]) -> list[Judged]:
    from medtower.cohorts.encode import decode, populations
    from medtower.evaluation.metrics import estimates

    known = ~np.isnan(outcome)
    if int(known.sum()) < contract.tracking.min_labelled:
        return [(_unknown(metric, int(known.sum())), Status.INSUFFICIENT) for metric in contract.kpis]
    frame = decode(rows["features"], contract)[known]
    found = estimates(
        contract,
        outcome[known],
        np.array(rows["prediction"], dtype=np.float64)[known],
        populations(frame.reset_index(drop=True), contract),
        seed=contract.training.seed,
    )
    return [(e, kpi.judge(contract, e)) for e in found]


def _unknown(metric: str, n: int) -> Estimate:
    return Estimate(metric=metric, n=n, value=None, lower=None, upper=None, method="too few labels")


def _latency(contract: Contract, milliseconds: list[float]) -> list[Judged]:
    promised = [e for e in latency(milliseconds) if e.metric in contract.service_levels]
    return [(e, kpi.judge(contract, e)) for e in promised]


def _open_incidents(tower: Tower, model: Model, version: int, judged: list[Judged], moment: datetime) -> None:
    """At most two a version and week: for what breaks a promise now, and for a drop since release, which `retrain` answers."""
    contract = model.contract
    whole = [(e, s) for e, s in judged if e.population == "all"]
    if critical := [e for e, s in whole if s is Status.CRITICAL]:
        _open(tower, "kpi", contract.name, version, "critical", ", ".join(map(_told, critical)), moment)
    if performance_drop(model, version, judged):
        primary = ", ".join(_told(e) for e, _ in whole if e.metric == contract.gates.primary)
        summary = f"{primary} is worse than at release by more than {contract.retraining.drop:g}"
        _open(tower, "drop", contract.name, version, "warning", summary, moment)


def _told(estimate: Estimate) -> str:
    return f"{estimate.metric} {estimate.value:.3g} (n={estimate.n})"


def _open(
    tower: Tower,
    cause: Literal["kpi", "drop"],
    name: str,
    version: int,
    severity: Literal["warning", "critical"],
    summary: str,
    moment: datetime,
) -> None:
    incidents.open(
        tower.database,
        Incident(
            key=f"{cause}/{name}/{version}/{moment:%G-W%V}",
            model=name,
            version=version,
            kind="kpi",
            severity=severity,
            summary=summary,
            opened_at=moment,
        ),
    )


def _close_incidents(tower: Tower, name: str, version: int | None, moment: datetime) -> None:
    """What a version did wrong is over when it no longer serves; what it is retrained for stays open until that is answered."""
    for incident in incidents.find(tower.database, name, only_open=True):
        if incident.key.startswith("kpi/") and incident.version != version:
            resolution = f"version {version} serves instead" if version else "no version serves"
            incidents.close(tower.database, incident.key, at=moment, resolution=resolution)


def performance_drop(model: Model, version: int, judged: list[Judged]) -> bool:
    """True when the primary metric is worse than at release by more than `retraining.drop`, by the near end of its interval."""
    primary, metric = model.contract.gates.primary, METRICS[model.contract.gates.primary]
    now = next((e for e, _ in judged if e.metric == primary and e.population == "all"), None)
    evidence = model.folder / "dossiers" / str(version) / "evaluation.json"
    if now is None or now.upper is None or now.lower is None or not evidence.exists():
        return False
    baseline = EvaluationReport.model_validate_json(evidence.read_text()).get(primary)
    if baseline is None or baseline.value is None:
        return False
    drop = baseline.value - now.upper if metric.higher_is_better else now.lower - baseline.value
    return drop > model.contract.retraining.drop


def _report(
    tower: Tower,
    contract: Contract,
    version: int,
    judged: list[Judged],
    coverage: float | None,
    start: datetime,
    moment: datetime,
) -> Path:
    from medtower.reports.publish import publish, publish_index

    folder = tower.settings.path("reports")
    page = publish(
        folder,
        f"{contract.name}/performance-{moment:%Y-%m-%d}-version-{version}.html",
        "performance.html.j2",
        contract=contract,
        version=version,
        judged=judged,
        coverage=coverage,
        window_start=start,
        window_end=moment,
        as_of=moment,
    )
    publish_index(folder)
    return page
