"""What follows a rollback, level-triggered: every rollback on main has an incident, a validation and a report, however it was made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from medtower.adapters.postgres import incidents
from medtower.domain.check import Check
from medtower.domain.incident import Incident
from medtower.reports.publish import publish, publish_index
from medtower.workflows import trail
from medtower.workflows.rollback_checks import TRAFFIC, checks
from medtower.workflows.rollback_history import TakenBack, rollbacks
from medtower.workflows.tower import Tower

log = logging.getLogger(__name__)
PATIENCE = timedelta(hours=24)


def settle(tower: Tower, name: str, *, actor: str = "git", now: datetime | None = None) -> list[str]:
    """Bring the record of `name` up to its history and return the keys of the incidents that were looked at.

    A rollback's incident is opened once and stays open until every check has passed; what only requests can tell is waited for 24 h, then
    it closes saying what is not known. It closes unvalidated when something else was released meanwhile. Safe to run again. Raises Unavailable
    while the database is down, OSError when the report cannot be written.
    """
    moment = now or datetime.now(UTC)
    known = {i.key: i for i in incidents.find(tower.database, name)}
    looked = []
    for done in rollbacks(tower.repository, name):
        key = f"rollback/{name}/{done.commit[:12]}"
        if key in known and known[key].closed_at is not None:
            continue
        if key not in known:
            _open(tower, done, key, actor, moment)
        _validate(tower, done, key, moment)
        looked.append(key)
    return looked


def closes(found: Sequence[Check], age: timedelta) -> bool:
    """Whether a validation of a rollback `age` ago ends its incident: all passed, or nothing but requests is missing and none came in time."""
    missing = [c.name for c in found if c.passed is None]
    if any(c.passed is False for c in found):
        return False
    return not missing or (age >= PATIENCE and set(missing) <= set(TRAFFIC))


def _open(tower: Tower, done: TakenBack, key: str, actor: str, moment: datetime) -> None:
    taken = ", ".join(map(str, done.versions))
    incident = Incident(
        key=key,
        model=done.model,
        version=done.versions[-1],
        kind="rollback",
        severity="critical",
        summary=f"version {taken} was taken back, {_back_to(done)}: {done.subject}"[:500],
        opened_at=moment,
    )
    if incidents.open(tower.database, incident):
        trail.note(
            tower.database, actor, "takes back", f"{done.model} {taken}", commit=done.commit, to=done.to
        )


def _validate(tower: Tower, done: TakenBack, key: str, moment: datetime) -> None:
    found = [_followed_by(done.followed_by)] if done.followed_by else checks(tower, done, moment)
    folder = tower.settings.path("reports")
    page = f"{done.model}/rollback-{done.at:%Y-%m-%d}-{done.commit[:12]}.html"
    publish(folder, page, "rollback.html.j2", done=done, checks=found, at=moment)
    publish_index(folder)
    told = "; ".join(map(str, found))
    log.info("looked at a rollback", extra={"model": done.model, "version": done.to, "status": told})
    if done.followed_by or closes(found, moment - done.at):
        incidents.close(tower.database, key, at=moment, resolution=f"{_back_to(done)}; {told}"[:500])


def _followed_by(commit: str) -> Check:
    return Check(
        name="still released",
        passed=None,
        told=f"the release was changed again by {commit[:12]}, before this was looked at",
    )


def _back_to(done: TakenBack) -> str:
    return f"version {done.to} is released" if done.to else "no model is released"
