"""Retrain where it is needed, and propose what passes its gates. People decide; this never promotes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from medtower.adapters.git import MAIN
from medtower.adapters.postgres import incidents, lock
from medtower.domain.incident import Incident
from medtower.domain.tree import MODELS
from medtower.errors import NotFound
from medtower.workflows import model_tree
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
            raise NotFound(f"the model {model}", MODELS, f"known: {', '.join(tower.names())}")
        trigger = f"hand/{model}/{datetime.now(UTC):%Y-%m-%dT%H:%M}"
        return [_need(model, window_days, reason or "asked for by hand", trigger)]
    pending: dict[str, list[Incident]] = {}
    for incident in incidents.find(tower.database, only_open=True):
        if _calls_for_retraining(incident):
            pending.setdefault(incident.model, []).append(incident)
    return [_of_incidents(name, found, window_days, reason) for name, found in sorted(pending.items())]


def _of_incidents(name: str, found: list[Incident], window_days: int, reason: str) -> dict[str, object]:
    """One need a model, version and week, however many incidents call for it; drift is told first, as the cause."""
    newest = max(found, key=lambda i: i.opened_at)
    told = "; ".join(i.summary for i in sorted(found, key=lambda i: (i.kind != "drift", i.key)))
    trigger = f"{name}/{newest.version or 0}/{newest.opened_at:%G-W%V}"
    return _need(name, window_days, reason or told, trigger)


def _calls_for_retraining(incident: Incident) -> bool:
    return incident.kind == "drift" or incident.key.startswith("drop/")


def _need(model: str, window_days: int, reason: str, trigger: str) -> dict[str, object]:
    return {"model": model, "window_days": window_days, "reason": reason, "trigger": trigger}


def retrain(need: dict[str, object], tower: Tower | None = None) -> dict[str, object]:
    """Train for one need on the record, and open a proposal when every gate says PROMOTE. Safe to run twice, and after a kill.

    Returns {model, version, proposed, gates}. Raises Conflict while another process works on the same need.
    """
    tower = tower or Tower()
    name, trigger = str(need["model"]), str(need["trigger"])
    with lock.held(tower.database, trigger):
        return _retrain(tower, name, trigger, int(str(need["window_days"])), str(need["reason"]))


def _retrain(tower: Tower, name: str, trigger: str, window_days: int, reason: str) -> dict[str, object]:
    with tower.model(name) as model:
        days = window_days or model.contract.retraining.window_days
    trained = train(tower, name, reason=reason, window_days=days, trigger=trigger)
    note(
        tower.database,
        "retrain",
        "trained",
        f"{name} {trained.version}",
        trigger=trigger,
        passed=trained.passed,
    )
    branch = _propose(tower, trained, reason)
    _answer(tower, trained)
    return {
        "model": name,
        "version": trained.version,
        "proposed": branch,
        "gates": {v.name: v.decision.value for v in trained.gates},
    }


def _propose(tower: Tower, trained: Trained, reason: str) -> str | None:
    """The proposal's branch; None when a gate failed, or when people have merged the version since an earlier run proposed it."""
    dossier = model_tree.path(trained.model, "dossiers", str(trained.version))
    if not trained.passed or tower.repository.entries(f"{MAIN}:{dossier}"):
        return None
    return open_proposal(tower, trained.model, trained.version, reason=reason)


def _answer(tower: Tower, trained: Trained) -> None:
    """Close the incidents that called for this."""
    outcome = "proposed" if trained.passed else "trained, but its gates failed"
    for incident in incidents.find(tower.database, trained.model, only_open=True):
        if _calls_for_retraining(incident):
            resolution = f"version {trained.version} {outcome}"
            incidents.close(tower.database, incident.key, at=datetime.now(UTC), resolution=resolution)
