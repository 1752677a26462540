"""Detect drift of one model: today's inputs and answers against what the version saw in training."""

from __future__ import annotations

import logging
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medtower.adapters.postgres import drift as rows
from medtower.adapters.postgres import health, incidents
from medtower.domain.contract import Contract
from medtower.domain.drift import DriftReport, Severity
from medtower.domain.incident import Incident
from medtower.workflows.tower import Model, Tower

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
PAGES_KEPT = timedelta(days=30)


def detect(name: str, tower: Tower | None = None, *, until: datetime | None = None) -> dict[str, object]:
    """Test the window of `name` that ends with the hour of `until` (default: now) and keep the findings.

    An alarm that persists opens one incident a version and week, which is what `retrain` reads. Returns a summary without any patient's data.
    """
    tower = tower or Tower()
    moment = until or datetime.now(UTC)
    with tower.model(name) as model:
        if model.release.version is None:
            return {"model": name, "version": None, "alarm": False, "drifted": []}
        return _detect(tower, model, model.release.version, moment)


def _detect(tower: Tower, model: Model, version: int, moment: datetime) -> dict[str, object]:
    from medtower.drift import engine, persistence

    contract = model.contract
    end = moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    start = end - timedelta(days=contract.drift.window_days)
    reference, said = reference_of(tower, contract.name, version)
    window = tower.predictions.window(contract.name, version, start, end)
    # float32 first: the reference is what the model saw, and 0.9 as float32 is not 0.9 as float64
    current = np.array(window["features"], dtype=np.float32).astype(np.float64).reshape(-1, contract.width)
    report = engine.run(
        contract,
        reference,
        current,
        reference_prediction=said,
        current_prediction=np.array(window["prediction"], dtype=np.float64),
        version=version,
        window_start=start,
        window_end=end,
    )
    rows.save(tower.database, report)
    history = rows.history(tower.database, contract.name, version, windows=contract.drift.persistence)
    alarmed = sorted(
        f for f, past in history.items() if persistence.alarm(past[::-1], contract.drift.persistence)
    )
    # what this window could not test, it can neither confirm nor report
    tested = {f.feature for f in report.findings if f.severity is not Severity.INSUFFICIENT}
    if confirmed := [f for f in alarmed if f in tested]:
        _open_incident(tower, contract.name, version, report, confirmed, moment)
    path = _write(tower, contract, report, reference, current, bool(confirmed), moment)
    health.record(tower.database, "detect_drift", datetime.now(UTC), model=contract.name)
    log.info(
        "tested for drift", extra={"model": contract.name, "version": version, "count": len(report.drifted)}
    )
    return {
        "model": contract.name,
        "version": version,
        "n": len(current),
        "drifted": [f.feature for f in report.drifted],
        "alarm": bool(alarmed),
        "report": str(path),
    }


def reference_of(tower: Tower, name: str, version: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a version saw and said in training: features [n, inputs] and predictions [n], from its MLflow run."""
    run = tower.registry.version(name, version).run_id
    with (
        tempfile.TemporaryDirectory(prefix="medtower-reference-") as place,
        np.load(tower.registry.fetch_file(run, "reference.npz", Path(place)), allow_pickle=False) as kept,
    ):
        return kept["features"].astype(np.float64), kept["prediction"].astype(np.float64)


def _open_incident(
    tower: Tower, name: str, version: int, report: DriftReport, alarmed: list[str], moment: datetime
) -> None:
    effects = {f.feature: f.effect for f in report.findings}
    told = ", ".join(f"{f} (PSI {effects[f]:.2f})" if effects.get(f) is not None else f for f in alarmed[:8])
    incidents.open(
        tower.database,
        Incident(
            key=f"drift/{name}/{version}/{moment:%G-W%V}",
            model=name,
            version=version,
            kind="drift",
            severity="warning",
            summary=f"{len(alarmed)} of {len(report.findings)} features drift: {told}",
            opened_at=moment,
        ),
    )


def _write(
    tower: Tower,
    contract: Contract,
    report: DriftReport,
    reference: NDArray[np.float64],
    current: NDArray[np.float64],
    alarm: bool,
    moment: datetime,
) -> Path:
    """The short report always; Evidently's long one, which takes seconds, once a day and only when there is something to look at."""
    from medtower.reports.publish import publish, publish_index, remove_old

    folder = tower.settings.path("reports")
    detail = folder / contract.name / f"drift-detail-{moment:%Y-%m-%d}.html"
    if alarm and not detail.exists():
        from medtower.drift import evidently_report

        evidently_report.write(contract, reference, current, detail)
    page = publish(
        folder,
        f"{contract.name}/drift-{report.window_end:%Y-%m-%dT%H}.html",
        "drift.html.j2",
        contract=contract,
        report=report,
        detail=detail.name if detail.exists() else None,
    )
    remove_old(page.parent, datetime.now(UTC) - PAGES_KEPT)
    publish_index(folder)
    return page
