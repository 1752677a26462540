"""Take a version back and tell what followed: the same one commit as `git revert`, then the incident, the checks and the report."""

from __future__ import annotations

import logging

from medtower.errors import MedtowerError
from medtower.serving import routing
from medtower.wait import wait_until
from medtower.workflows import pull_request
from medtower.workflows.after_rollback import settle
from medtower.workflows.deactivate import deactivate
from medtower.workflows.rollback import Rollback, rollback
from medtower.workflows.rollback_checks import followed
from medtower.workflows.tower import Tower

log = logging.getLogger(__name__)
RECONCILER_SECONDS = 10.0


def take_back(
    tower: Tower, name: str, reason: str, *, actor: str = "by hand", version: int | None = None
) -> Rollback:
    """Roll `name` back (from `version`, when given: else Conflict) and settle what can be settled now.

    The commit comes first and needs git alone. What it could not tell because a part was down is told by the next `reconcile_health`, which
    also finds a `git revert` made by hand. Raises what `rollback` raises.
    """
    pull_request.catch_up(tower)
    done = rollback(tower.repository, name, reason, version=version)
    follow_up(tower, name, done.commit, actor=actor)
    return done


def take_out(tower: Tower, name: str, reason: str, *, actor: str = "by hand") -> str:
    """Release no model of `name` any more and settle what can be settled now; return the commit. Raises what `deactivate` raises."""
    pull_request.catch_up(tower)
    commit = deactivate(tower.repository, name, reason)
    follow_up(tower, name, commit, actor=actor)
    return commit


def follow_up(tower: Tower, name: str, commit: str, *, actor: str) -> None:
    """Give the forge the commit, wait a moment for the reconciler where there is one, and settle; nothing of it can fail the rollback."""
    try:
        pull_request.share(tower)
    except MedtowerError as error:
        log.warning(
            "the rollback stands; the forge gets it later", extra={"model": name, "reason": str(error)}
        )
    try:
        if routing.current(tower.settings.path("routing")):
            wait_until(lambda: followed(tower, commit), RECONCILER_SECONDS)
        settle(tower, name, actor=actor)
    except (MedtowerError, OSError) as error:
        log.warning(
            "the rollback stands; its report comes later", extra={"model": name, "reason": str(error)}
        )
