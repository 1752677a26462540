"""The rollback drill: a promotion and its revert on a throw-away model, by the real path, with the seconds on record.

Nothing is bent for a drill: its versions are trained, proposed and signed like any other. `prepare` proposes one; reviewers sign as many as
they like in advance; each drill uses one up. A drill without an approved version is told as such, never skipped in silence.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import yaml

from medtower.adapters.git import MAIN
from medtower.adapters.postgres import health
from medtower.domain.tree import PROMOTE
from medtower.errors import MedtowerError, NotFound, Refused, Unavailable
from medtower.releases import kustomization
from medtower.serving import routing
from medtower.wait import wait_until
from medtower.workflows import history, pull_request, trail
from medtower.workflows.add_model import add_model
from medtower.workflows.drill_model import COHORT, CONTRACT, MODEL
from medtower.workflows.proposal import open_proposal
from medtower.workflows.rollback import rollback
from medtower.workflows.smoke import check_golden
from medtower.workflows.take_back import follow_up, take_back
from medtower.workflows.tower import Tower
from medtower.workflows.train import train

log = logging.getLogger(__name__)
TASK = "rollback_drill"
ACTOR = "drill"
REASON = "a version to take back in a drill"
DEADLINE = 120.0


def prepare(tower: Tower, *, progress: Callable[[str], None] = lambda _: None) -> str:
    """Bring the model to the tower if it is not there, train a version and propose it; return the proposal's branch.

    Raises GateFailed and whatever training and proposing raise.
    """
    pull_request.refresh(tower)
    if MODEL not in tower.names():
        _bring(tower)
    made = train(tower, MODEL, reason=REASON, progress=progress)
    return open_proposal(tower, MODEL, made.version, reason=REASON)


def drill(tower: Tower | None = None, *, now: datetime | None = None) -> dict[str, object]:
    """Promote the oldest approved version of the drill's model, see it serve, take it back, and see the one before serve again.

    Returns {model, version, back_to, promote_seconds, revert_seconds}: from the merge, or the start of the revert, until everybody is routed to
    the other version and that gave its golden answers. The first drill has nothing to go back to: it leaves its version in service and
    revert_seconds None. What an interrupted drill left is taken back first. Raises NotFound when no approved version waits, Unavailable when the
    tower does not follow within 120 s.
    """
    tower, moment = tower or Tower(), now or datetime.now(UTC)
    pull_request.refresh(tower)
    before = _ground(tower)
    version = _promote_next(tower)
    promote = _until_serves(tower, version, time.monotonic())
    revert = _take_back(tower, version, before) if before else None
    told = {"version": version, "back_to": before, "promote_seconds": promote, "revert_seconds": revert}
    trail.note(tower.database, ACTOR, "rehearses a rollback of", f"{MODEL} {version}", **told)
    if before:
        health.record(tower.database, TASK, moment)
    log.info("drilled", extra={"model": MODEL, "version": version, "seconds": revert})
    return {"model": MODEL, **told}


def _bring(tower: Tower) -> None:
    contract = {**CONTRACT, "approvals": list(tower.settings.approval_roles)}
    with tempfile.TemporaryDirectory(prefix="medtower-drill-") as place:
        folder = Path(place) / MODEL
        folder.mkdir()
        (folder / "model.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
        (folder / "cohort.yaml").write_text(yaml.safe_dump(COHORT, sort_keys=False))
        (folder / kustomization.NAME).write_bytes(kustomization.render(MODEL, None))
        add_model(tower.repository, folder)
    with contextlib.suppress(MedtowerError):  # proposing says it
        pull_request.share(tower)


def _ground(tower: Tower) -> int | None:
    """The version that drills come back to, None before the first; a promotion on top of it is what an interrupted drill left."""
    stack = history.ledger(tower.repository, MAIN, MODEL).stack
    for entry in reversed(stack[1:]):
        take_back(
            tower,
            MODEL,
            "what an interrupted rollback drill left",
            actor=ACTOR,
            version=entry.release.version,
        )
    return stack[0].release.version if stack else None


def _promote_next(tower: Tower) -> int:
    """Merge the oldest proposal that is whole and return its version."""
    prefix = PROMOTE
    proposed = [b.removeprefix(f"{prefix}{MODEL}-") for b in tower.repository.branches(prefix)]
    waiting = sorted(int(name) for name in proposed if name.isdecimal())
    refused = []
    for version in waiting:
        try:
            pull_request.merge(tower, MODEL, version)
        except Refused as error:
            refused.append(f"version {version}: {error}")
        else:
            return version
    why = "; ".join(refused) or "none is proposed"
    raise NotFound(
        f"an approved version of {MODEL}",
        "the proposals",
        f"{why}; propose one with: medtower drill --prepare",
    )


def _take_back(tower: Tower, version: int, before: int) -> float:
    started = time.monotonic()
    done = rollback(tower.repository, MODEL, "rollback drill", version=version)
    seconds = _until_serves(tower, before, started)
    follow_up(tower, MODEL, done.commit, actor=ACTOR)
    return seconds


def _until_serves(tower: Tower, version: int, started: float) -> float:
    """Seconds from `started` until everybody is routed to `version` and it answers its golden rows as signed."""

    def serves() -> bool:
        table = routing.current(tower.settings.path("routing"))
        route = table.routes.get(MODEL) if table else None
        return route is not None and [a.version for a in route.arms] == [version]

    if not wait_until(serves, DEADLINE):
        raise Unavailable(
            f"{MODEL} {version}", f"it did not serve within {DEADLINE:g} s; the reconciler's log says why"
        )
    check_golden(tower, MODEL, version)
    return round(time.monotonic() - started, 3)
