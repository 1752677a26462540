"""Removes from the store what no revert can bring back: versions behind the last releases of main's history, old quarantine, stale downloads."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable

from medtower.adapters.git import Repository
from medtower.adapters.triton import Triton
from medtower.domain.contract import MODEL_NAME
from medtower.domain.release import Release
from medtower.serving.store import Store
from medtower.workflows import history
from medtower.workflows.reconcile.loading import ready
from medtower.workflows.reconcile.memory import Memory
from medtower.workflows.reconcile.routes import Routes

log = logging.getLogger(__name__)
ASIDE_SECONDS = 30 * 24 * 3600.0


class Collector:
    """Keeps, of every model, the weights of the last `releases` releases in git that nobody took back, all that is loaded, routed to or kept
    warm."""

    def __init__(
        self, repository: Repository, store: Store, triton: Triton, memory: Memory, releases: int
    ) -> None:
        self._repository, self._store, self._triton, self._memory = repository, store, triton, memory
        self._releases = releases
        self._done: str | None = None

    def collect(self, commit: str, routes: Routes, busy: Iterable[tuple[str, int]]) -> list[str]:
        """Remove and return what was removed, as paths below the store; once a commit, because only history and what serves decide.

        `busy` versions are on their way. Never call it after a pass that failed: what it left undone may need what lies there.
        """
        if commit == self._done:
            return []
        spared = set(busy)
        removed = []
        for model in filter(MODEL_NAME.fullmatch, self._store.models()):
            keep = self._keep(commit, model, routes)
            for version in self._store.versions(model) if keep is not None else []:
                if version not in (keep or ()) and (model, version) not in spared:
                    self._store.remove(model, version)
                    removed.append(f"{model}/{version}")
        removed += self._sweep()
        if removed:
            names = ", ".join(removed)
            log.info("removed from the store: %s", names, extra={"count": len(removed)})
        self._done = commit
        return removed

    def _keep(self, commit: str, model: str, routes: Routes) -> set[int] | None:
        """The versions to keep; None, for all of them, where git releases nothing of the model."""
        restorable = self._restorable(commit, model)
        if not restorable:
            return None
        route = routes.by_model.get(model)
        warm = {v.version for v in self._memory.others(model, ())}
        return restorable | warm | (route.versions if route else set()) | ready(self._triton, model)

    def _restorable(self, commit: str, model: str) -> set[int]:
        """The versions that a rollback to one of the last releases serves. What was taken back does not return as it was, so it is none of
        them: versions that failed never push the way back out of the store."""
        stack = history.ledger(self._repository, commit, model).stack[-self._releases :]
        return {v for entry in stack for v in _needs(entry.release)}

    def _sweep(self) -> list[str]:
        old = self._store.aside(time.time() - ASIDE_SECONDS)
        for path in old:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [path.name for path in old]


def _needs(release: Release) -> list[int]:
    """What serves while that release does: a rollout needs what it replaces as well."""
    rolled_out = release.rollout is not None and len(release.rollout.stages) > 1
    return [v for v in (release.version, release.replaces if rolled_out else None) if v is not None]
