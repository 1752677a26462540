"""Does what serves agree with what git says? Verify the audit trail, compare, settle rollbacks, mirror to MLflow's alias."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime

from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres import health, incidents
from medtower.audit import chain
from medtower.domain.incident import Incident
from medtower.errors import MedtowerError, NotFound
from medtower.serving import routing
from medtower.workflows import after_rollback, model_tree, pull_request
from medtower.workflows.tower import Tower

log = logging.getLogger(__name__)


def reconcile_health(tower: Tower | None = None, *, at: datetime | None = None) -> dict[str, object]:
    """Compare as of `at` (default: now). Returns {compared, differing, audit_events}. A difference opens an incident, which agreement closes; mending is the reconciler's.
    Every rollback that main tells, one by hand too, gets its incident, validation and report.

    The audit trail comes first and MLflow last, so that neither the trail nor a difference goes unseen while MLflow is down. Raises Refused
    naming the sequence number when the trail was changed.
    """
    tower = tower or Tower()
    moment = at or datetime.now(UTC)
    events = chain.verify(rows.read(tower.database))
    # by model; None where git releases nothing
    released = {name: r.version for name, r in model_tree.released(tower.repository).items()}
    served = _served(tower)
    differing = [name for name, version in released.items() if version != served.get(name)]
    _settle_incidents(tower, released, served, moment)
    _share(tower)
    for name in released:
        after_rollback.settle(tower, name, now=moment)
    for name, version in released.items():
        if version is None or name not in differing:
            _mirror(tower, name, version)
    health.record(tower.database, "reconcile_health", moment)
    log.info("compared", extra={"n": len(released), "count": len(differing)})
    return {"compared": len(released), "differing": differing, "audit_events": events}


def _share(tower: Tower) -> None:
    """What was committed here while the forge was down, such as a rollback, goes there now."""
    try:
        pull_request.share(tower)
    except MedtowerError as error:
        log.warning("the forge has not got main", extra={"reason": str(error)})


def _served(tower: Tower) -> dict[str, int]:
    """The version that takes over, or has, by model, as the gateway routes; empty while the reconciler has published nothing."""
    table = routing.current(tower.settings.path("routing"))
    routes = table.routes if table else {}
    return {name: route.newest for name, route in routes.items() if route.newest is not None}


def _mirror(tower: Tower, name: str, version: int | None) -> None:
    if version is not None:
        tower.registry.mark_champion(name, version)
        return
    with contextlib.suppress(NotFound):  # a model that was never trained is not in the registry
        tower.registry.mark_champion(name, None)


def _settle_incidents(
    tower: Tower, released: dict[str, int | None], served: dict[str, int], moment: datetime
) -> None:
    """Open one a difference and close those of a model that agrees. A difference that comes back is a new incident."""
    known = [i for i in incidents.find(tower.database, only_open=True) if i.key.startswith("reconcile/")]
    for name, version in released.items():
        mine = [i for i in known if i.model == name]
        if version != served.get(name):
            if version not in [i.version for i in mine]:
                _open_incident(tower, name, version, served.get(name), moment)
            continue
        for incident in mine:
            resolution = f"version {version} serves" if version else "nothing serves, as git says"
            incidents.close(tower.database, incident.key, at=moment, resolution=resolution)


def _open_incident(
    tower: Tower, name: str, desired: int | None, served: int | None, moment: datetime
) -> None:
    incidents.open(
        tower.database,
        Incident(
            key=f"reconcile/{name}/{desired or 0}/{moment:%Y-%m-%dT%H:%M:%S}",
            model=name,
            version=desired,
            kind="reconcile",
            severity="critical",
            summary=f"git says version {desired or 'none'}, {served or 'none'} serves",
            opened_at=moment,
        ),
    )
