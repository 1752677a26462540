"""Does what serves agree with what git says? Compare, mirror to MLflow's alias, verify the audit trail."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres import health, incidents
from medtower.audit import chain
from medtower.domain.incident import Incident
from medtower.serving import routing
from medtower.workflows.tower import Tower, read_model

log = logging.getLogger(__name__)


def reconcile_health(tower: Tower | None = None) -> dict[str, object]:
    """Returns {compared, differing, audit_events}. A difference opens an incident; mending is the reconciler's.

    Raises Refused naming the sequence number when the audit trail was changed.
    """
    tower = tower or Tower()
    moment = datetime.now(UTC)
    table = routing.read(tower.settings.path("routing"))
    differing: list[str] = []
    names = tower.names()
    with tower.models() as models:
        for name in names:
            desired = read_model(models, name).release.version
            route = table.routes.get(name) if table else None
            served = max((a.version for a in route.arms), default=None) if route else None
            if desired != served:
                differing.append(name)
                _open_incident(tower, name, desired, served, moment)
            elif desired is not None:
                tower.registry.mark_champion(name, desired)
    events = chain.verify(rows.read(tower.database))
    health.record(tower.database, "reconcile_health", moment)
    log.info("compared", extra={"n": len(names), "count": len(differing)})
    return {"compared": len(names), "differing": differing, "audit_events": events}


def _open_incident(
    tower: Tower, name: str, desired: int | None, served: int | None, moment: datetime
) -> None:
    incidents.open(
        tower.database,
        Incident(
            key=f"reconcile/{name}/{desired or 0}/{moment:%Y-%m-%d}",
            model=name,
            version=desired,
            kind="reconcile",
            severity="critical",
            summary=f"git says version {desired or 'none'}, {served or 'none'} serves",
            opened_at=moment,
        ),
    )
