"""The routes as published, and every change of them as an event: what was exposed to whom can be rebuilt from the trail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from medtower.domain.audit_event import AuditEvent
from medtower.domain.routing import Route, RoutingTable, format_shares, shares
from medtower.errors import NotFound, Unavailable
from medtower.serving import routing

log = logging.getLogger(__name__)
ACTOR = "reconciler"


class Routes:
    """The table at `path`. `tell` gets an event for each change: its details name all `arms` with their weights (see `format_shares`), what they
    came `instead_of`, the release `digest` that takes over, and the git `commit`.

    A process says the routes that it finds once when it starts: whoever published them may have died before it said so.
    """

    def __init__(
        self, path: Path, tell: Callable[[AuditEvent], None], reached: Callable[[str], None]
    ) -> None:
        self._path, self._tell, self._reached = path, tell, reached
        self._told = False
        self.by_model: dict[str, Route] = {}

    def look(self) -> None:
        """Take over what is published; an unreadable table is the last one that this process knew, else it is rebuilt from nothing."""
        try:
            table = routing.read(self._path)
        except NotFound:
            self.by_model = {}
        except Unavailable:
            pass
        else:
            self.by_model = dict(table.routes)
            if not self._told:
                for route in table.routes.values():
                    self._changed(_verb(route, route), route, route, table.commit, table.published_at)
        self._told = True

    def publish(self, commit: str, route: Route | None = None) -> None:
        """Publish all routes in one file, `route` among them. Also without news: the file's age tells the gateway that the reconciler is there."""
        before = self.by_model.get(route.model) if route else None
        if route is not None:
            if before == route:
                return
            self.by_model[route.model] = route
        self._write(commit)
        if route is not None:
            self._reached("published")
            self._changed(_verb(before, route), before, route, commit, datetime.now(UTC))
            self._reached("told")

    def explain(self, model: str, reason: str) -> None:
        """Nothing serves of the model; the next publication says why."""
        self.by_model[model] = Route(model=model, reason=reason)

    def withdraw(self, commit: str, model: str) -> None:
        """The model is gone from git. First its route is empty, then it is none: what a table does not name, nobody could tell after a crash."""
        before, after = self.by_model[model], Route(model=model, reason="git has this model no more")
        self.by_model[model] = after
        self._write(commit)
        self._reached("published")
        self._changed("withdraws", before, after, commit, datetime.now(UTC))
        del self.by_model[model]
        self._write(commit)

    def _write(self, commit: str) -> None:
        table = RoutingTable(commit=commit, published_at=datetime.now(UTC), routes=self.by_model)
        for model, why in routing.publish(self._path, table).items():
            log.error("a route is withheld", extra={"model": model, "reason": why})

    def _changed(self, verb: str, before: Route | None, after: Route, commit: str, at: datetime) -> None:
        newest = after.newest or (before.newest if before else None)
        details = {
            "arms": format_shares(shares(after)),
            "instead_of": format_shares(shares(before)),
            "digest": _digest(after),
            "commit": commit,
            "reason": after.reason,
        }
        log.info(verb, extra={"model": after.model, "version": newest, "reason": after.reason or None})
        subject = f"{after.model} {newest}" if newest else after.model
        self._tell(AuditEvent(at=at, actor=ACTOR, action=verb, subject=subject, details=dict(details)))


def _verb(before: Route | None, after: Route) -> str:
    if not after.arms:
        return "serves no"
    return "routes" if before and before.newest == after.newest and before.arms else "serves"


def _digest(route: Route) -> str:
    if route.shadow:
        return route.shadow.digest
    return route.arms[-1].digest if route.arms else ""
