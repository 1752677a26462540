"""Retrain where it is needed, and propose what passes its gates. People decide; this never promotes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from medtower.adapters.postgres import incidents
from medtower.domain.incident import Incident
from medtower.errors import NotFound
from medtower.workflows.proposal import open_proposal
from medtower.workflows.tower import Tower
from medtower.workflows.trail import note
from medtower.workflows.train import Trained, train

log = logging.getLogger(__name__)


def needed(
    model: str = "", window_days: int = 0, reason: str = "", tower: Tower | None = None
) -> list[dict[str, object]]:
    """What to retrain, as {model, window_days, reason, trigger}: the model asked for by hand, or every open incident of drift or of a drop.

    `trigger` names the need; `retrain` makes one version a trigger, however often it runs.
    """
    tower = tower or Tower()
    if model:
        if model not in tower.names():
            raise NotFound(f"the model {model}", "triton_models", f"known: {', '.join(tower.names())}")
        trigger = f"hand/{model}/{datetime.now(UTC):%Y-%m-%dT%H:%M}"
        return [_need(model, window_days, reason or "asked for by hand", trigger)]
    pending = [i for i in incidents.find(tower.database, only_open=True) if _calls_for_retraining(i)]
    by_model = {i.model: i for i in pending}
    return [_need(i.model, window_days, reason or i.summary, i.key) for i in by_model.values()]


def _calls_for_retraining(incident: Incident) -> bool:
    return incident.kind == "drift" or incident.key.startswith("drop/")


def _need(model: str, window_days: int, reason: str, trigger: str) -> dict[str, object]:
    return {"model": model, "window_days": window_days, "reason": reason, "trigger": trigger}


def retrain(need: dict[str, object], tower: Tower | None = None) -> dict[str, object]:
    """Train for one need on the record, and open a proposal when every gate says PROMOTE. Safe to run twice, and after a kill.

    Returns {model, version, proposed, gates}.
    """
    tower = tower or Tower()
    name, trigger = str(need["model"]), str(need["trigger"])
    with tower.model(name) as model:
        days = int(str(need["window_days"])) or model.contract.retraining.window_days
    trained = train(tower, name, reason=str(need["reason"]), window_days=days, trigger=trigger)
    note(
        tower.database,
        "retrain",
        "trained",
        f"{name} {trained.version}",
        trigger=trigger,
        passed=trained.passed,
    )
    branch = (
        open_proposal(tower, name, trained.version, reason=str(need["reason"])) if trained.passed else None
    )
    _answer(tower, trigger, trained)
    return {
        "model": name,
        "version": trained.version,
        "proposed": branch,
        "gates": {v.name: v.decision.value for v in trained.gates},
    }


def _answer(tower: Tower, trigger: str, trained: Trained) -> None:
    """Close the incident that called for this, once; a need asked for by hand has none."""
    if trigger.startswith("hand/"):
        return
    outcome = "proposed" if trained.passed else "trained, but its gates failed"
    incidents.close(
        tower.database, trigger, at=datetime.now(UTC), resolution=f"version {trained.version} {outcome}"
    )
