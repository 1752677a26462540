"""Who was exposed to which version at any past moment: rebuilt from git's history alone, and from the reconciler's events; the two must agree."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from medtower.adapters import git_history
from medtower.adapters.git import MAIN, Commit, Repository
from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.domain.audit_event import ChainedEvent
from medtower.domain.release import Release
from medtower.domain.rollout import IMMEDIATE, Traffic, stage
from medtower.domain.routing import Share, format_shares, parse_shares
from medtower.errors import NotFound, Refused
from medtower.releases import traffic_file
from medtower.workflows import history, model_tree
from medtower.workflows.reconcile.routes import ACTOR

ALLOWANCE = timedelta(seconds=60)
"""What the reconciler may need to follow a commit, and what clocks may differ by."""

Exposure = list[tuple[int, float]]


@dataclass(frozen=True)
class Change:
    """From `at` on, `shares` were what requests were sent to; `commit` is the one that said so."""

    at: datetime
    shares: tuple[Share, ...]
    commit: str


@dataclass(frozen=True)
class Disagreement:
    """From `start` to `end` the events say `trail`, which git's history does not say for any moment near (git says `git` at `start`)."""

    start: datetime
    end: datetime
    git: tuple[Share, ...]
    trail: tuple[Share, ...]

    def __str__(self) -> str:
        told = f"git says {format_shares(self.git) or 'nobody'}, the audit trail {format_shares(self.trail) or 'nobody'}"
        return f"{self.start:%Y-%m-%dT%H:%M:%SZ} to {self.end:%Y-%m-%dT%H:%M:%SZ}: {told}"


def at(repository: Repository, model: str, moment: datetime) -> Exposure:
    """(version, percent of patients) by git's history alone, the incumbent first; a version in the shadow has 0 %, no model is empty.

    It is what main told to serve at `moment` (aware), by its committers' clocks as far as they can be right: a version that the reconciler refused is not known here.
    Raises NotFound for a model that main never had, Refused where history is cut off.
    """
    return _pairs(_said(from_git(repository, model), moment))


def from_trail(database: Database, model: str, moment: datetime) -> Exposure:
    """The same by the reconciler's audit events. Raises Refused for an event that nobody wrote so, Unavailable."""
    return _pairs(_said(from_events(rows.read(database), model), moment))


def compare(
    repository: Repository,
    database: Database,
    model: str,
    since: datetime,
    until: datetime,
    *,
    allowance: timedelta = ALLOWANCE,
) -> list[Disagreement]:
    """Where the events differ, in [since, until], from all that git said within `allowance` before or after; empty when they agree."""
    git, trail = from_git(repository, model), from_events(rows.read(database), model)
    edges = {since, *(c.at for c in trail), *(c.at + step for c in git for step in (-allowance, allowance))}
    starts = sorted(e for e in edges if since <= e <= until)
    found: list[Disagreement] = []
    for start, end in zip(starts, [*starts[1:], until], strict=True):
        near = {_said(git, start - allowance)} | {c.shares for c in git if abs(c.at - start) <= allowance}
        if (told := _said(trail, start)) in near:
            continue
        if found and found[-1].end == start and found[-1].trail == told:
            start = found.pop().start  # noqa: PLW2901 - the same disagreement goes on
        found.append(Disagreement(start, end, _said(git, start), told))
    return found


def from_git(repository: Repository, model: str) -> list[Change]:
    """Every change of the exposure that main's first parents tell, oldest first, at the times that `_moments` takes them to be of."""
    told = history.releases(repository, MAIN, model)
    released = {r.commit: release for r, release in told}
    path = model_tree.path(model, traffic_file.NAME)
    contents = {r.commit: r.content for r in git_history.revisions(repository, MAIN, path)}
    release: Release | None = None
    traffic: Traffic | None = None
    found: list[Change] = []
    log = repository.log(MAIN, model_tree.path(model))
    moments = _moments(log, history.promotions(model, told), datetime.now(UTC))
    for commit in reversed(log):
        release = released.get(commit.id, release)
        if commit.id in contents:
            traffic = _traffic(contents[commit.id], model, traffic)
        # a committer's clock that was behind cannot make main say this earlier than what it said before
        moment = max(moments[commit.id], found[-1].at) if found else moments[commit.id]
        if not found or found[-1].shares != _shares(release, traffic):
            found.append(Change(moment, _shares(release, traffic), commit.id))
    if not found:
        raise NotFound(f"the model {model}", f"the history of {MAIN}")
    return found


def _moments(log: Sequence[Commit], promotions: Set[str], now: datetime) -> dict[str, datetime]:
    """When each commit of `log` (newest first) was made. A promotion's own time was checked when it reached main. Any other committer's clock may
    say anything: nothing was made after the promotion that follows it, and what is dated after `now` is as old as what follows it."""
    found: dict[str, datetime] = {}
    following = latest = now
    for commit in log:
        following = following if commit.at > now else min(commit.at, latest)
        if commit.id in promotions:
            latest = following = min(commit.at, now)
        found[commit.id] = following
    return found


def from_events(events: Sequence[ChainedEvent], model: str) -> list[Change]:
    """Every change of the routes of `model` that the reconciler told, in the order of time."""
    own = [
        e
        for e in sorted(events, key=lambda e: (e.event.at, e.sequence))
        if e.event.actor == ACTOR and "arms" in e.event.details and e.event.subject.split(" ")[0] == model
    ]
    return [Change(e.event.at, _parsed(e), str(e.event.details.get("commit", ""))) for e in own]


def _parsed(chained: ChainedEvent) -> tuple[Share, ...]:
    try:
        return parse_shares(str(chained.event.details["arms"]))
    except ValueError:
        what = f"event {chained.sequence} does not say its shares as the reconciler writes them; the record was changed"
        raise Refused("audit", what) from None


def _traffic(content: bytes | None, model: str, before: Traffic | None) -> Traffic | None:
    try:
        return traffic_file.parse(content, model)
    except Refused:  # the stage stays the one that was known
        return before


def _shares(release: Release | None, traffic: Traffic | None) -> tuple[Share, ...]:
    if release is None or release.version is None or release.digest is None:
        return ()
    plan, new, old = release.rollout or IMMEDIATE, release.version, release.replaces
    reached = stage(plan, release.digest, traffic)
    weight = plan.stages[min(reached, len(plan.stages) - 1)]
    if weight == 100 or old is None:
        return (Share("current", new, 100.0),)
    if weight == 0:
        return (Share("current", old, 100.0), Share("shadow", new, 0.0))
    return (Share("current", old, 100 - weight), Share("candidate", new, weight))


def _said(changes: Sequence[Change], moment: datetime) -> tuple[Share, ...]:
    """What the newest change until `moment` says; nothing before the first."""
    return next((c.shares for c in reversed(changes) if c.at <= moment), ())


def _pairs(found: Sequence[Share]) -> Exposure:
    return [(share.version, share.weight) for share in found]
