"""The routing table as this process sees it: read again whenever the file changes, kept when a new one cannot be read."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from medtower.domain import composition_fit
from medtower.domain.access import NO_SUCH_MODEL
from medtower.domain.contract import Contract
from medtower.domain.routing import Arm, Route, RoutingTable
from medtower.errors import MedtowerError, NotFound, Unavailable
from medtower.gateway.privacy import texts
from medtower.gateway.watched import Watched
from medtower.serving import routing

log = logging.getLogger(__name__)


class RoutingFile:
    """The table at `path`. Every request looks whether there is another."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, Watched(path)
        self._table: RoutingTable | None = None
        self._withheld: dict[tuple[str, int], str] = {}
        self._why = "it was not published yet"

    def route(self, model: str) -> Route:
        """The route of `model`. Raises Unavailable when no table was ever read, NotFound when it knows no such model."""
        route = self.table().routes.get(model)
        if route is None:
            raise NotFound(*NO_SUCH_MODEL)
        return route

    def contracts(self) -> dict[str, Contract]:
        """The contracts of what serves now, by model; empty while no table could be read."""
        try:
            routes = self.table().routes
        except Unavailable:
            return {}
        return {name: route.arms[0].contract for name, route in routes.items() if route.arms}

    def candidates(self) -> list[tuple[str, Arm]]:
        """The candidate of every rollout that is under way, with its model; none while no table could be read."""
        try:
            routes = self.table().routes
        except Unavailable:
            return []
        return [
            (name, arm) for name, route in routes.items() for arm in route.arms if arm.name == "candidate"
        ]

    def withheld(self, model: str, version: int) -> str | None:
        """Why the version must not answer although it is routed to: its composition does not fit. None when it may."""
        return self._withheld.get((model, version))

    def all_withheld(self) -> list[tuple[str, int]]:
        """Every (model, version) that must not answer."""
        return list(self._withheld)

    def table(self) -> RoutingTable:
        """The newest table that could be read. Raises Unavailable when there was none."""
        if self._file.changed():
            self.refresh()
        if self._table is None:
            raise Unavailable("routing table", self._why)
        return self._table

    def refresh(self) -> None:
        """Read the file now. A broken or missing one is logged, and the last good table stays."""
        self._file.look()
        try:
            self._table = routing.read(self._path)
        except NotFound:
            self._complain("the file is not there")
        except MedtowerError as error:
            self._complain(str(error))
        else:
            self._check_compositions(self._table)
            texts.prepare_for(arm.contract for route in self._table.routes.values() for arm in route.arms)

    def _check_compositions(self, table: RoutingTable) -> None:
        """Withhold the compositions that do not fit what is routed to now, and say so once. The other models go on."""
        before, self._withheld = self._withheld, composition_fit.withheld(table.routes)
        for (model, version), why in self._withheld.items():
            if before.get((model, version)) != why:
                extra = {"model": model, "version": version, "reason": why}
                log.error("a composition is withheld", extra=extra)

    def age(self, now: float) -> float:
        """Seconds since the reconciler last wrote or touched the file; infinite when it is not there."""
        try:
            return max(0.0, now - self._path.stat().st_mtime)
        except OSError:
            return math.inf

    def _complain(self, why: str) -> None:
        self._why = why
        kept = self._table.commit if self._table else None
        log.error("the routing table cannot be read", extra={"reason": why, "commit": kept})
