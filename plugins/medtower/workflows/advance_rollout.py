"""Advance a rollout by one verdict: read both arms, judge, and commit one step, or the revert of the promotion."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medtower.adapters.git import MAIN
from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres import health
from medtower.adapters.postgres.rollout_record import RolloutRecord
from medtower.domain.contract import Contract
from medtower.domain.release import Manifest, Release
from medtower.domain.rollout import COMPLETED_KEPT, Plan, Traffic, stage
from medtower.domain.verdict import Decision, Verdict, overall
from medtower.errors import Conflict, MedtowerError, NotFound
from medtower.releases import dossier, policy, steps, traffic_file
from medtower.rollout.observed import Arm, Pairs
from medtower.rollout.verdict import judge
from medtower.workflows import exposure, history, model_tree, pull_request, trail
from medtower.workflows.reconcile.routes import ACTOR as RECONCILER
from medtower.workflows.take_back import take_back
from medtower.workflows.tower import Tower

log = logging.getLogger(__name__)
ACTOR = "rollout"


@dataclass(frozen=True)
class Underway:
    """A rollout that has not reached everybody: what was approved, and the stage (index into the plan) it has been at `since`: None until the
    reconciler has routed its share to it. `doubt` is why what is released does not verify now; then it may be taken back, but not go on."""

    manifest: Manifest
    contract: Contract
    traffic: Traffic | None
    stage: int
    since: datetime | None
    doubt: str | None = None

    @property
    def plan(self) -> Plan:
        return self.manifest.rollout


def advance(name: str, tower: Tower | None = None, *, now: datetime | None = None) -> dict[str, object]:
    """Do what the verdict of this look says and return it: {model, version, stage, decision, reason, commit}.

    May be called as often as one likes: the tests are valid at every look, a stage holds for its hours, and a step that somebody else committed
    first is not taken twice (Conflict). Whose key has expired since it signed holds a rollout, but never its rollback. Raises Refused when what
    is released is not what its digests say; then nothing moves.
    """
    tower, moment = tower or Tower(), now or datetime.now(UTC)
    pull_request.catch_up(tower)
    found = underway(tower, name)
    if found is None:
        return {"model": name, "decision": None, "reason": "no rollout is under way"}
    verdicts = look(tower, found, moment)
    decision = overall(verdicts)
    reason = "; ".join(str(v) for v in verdicts if v.decision is decision)
    commit = _act(tower, found, decision, verdicts, reason, moment)
    health.record(tower.database, "advance_rollout", moment, model=name)
    version = found.manifest.version
    log.info("looked at a rollout", extra={"model": name, "version": version, "status": decision.value})
    return {
        "model": name,
        "version": version,
        "stage": found.stage,
        "decision": decision.value,
        "reason": reason,
        "commit": commit,
    }


def underway(tower: Tower, name: str) -> Underway | None:
    """The rollout of what main releases of `name`; None when nothing is, or when it serves everybody already.

    Its stage is what the signed traffic says; where that does not verify any more, what the reconciler routed last.
    """
    with model_tree.exported(tower.repository, tower.repository.head() or MAIN, name) as folder:
        release, manifest = policy.evidence(folder)
        if manifest is None or release.digest is None:
            return None
        doubt, traffic = _doubt(tower, folder), _traffic(tower, folder, release)
        contract = dossier.read_contract(policy.dossier_of(folder, manifest.version))
    shares = _routed(tower, manifest, release.digest)
    reached = stage(manifest.rollout, release.digest, traffic)
    since = _first(shares, manifest.rollout.stages[reached])
    if since and traffic and traffic.digest == release.digest:
        since = max(since, traffic.decided_at)
    elif traffic is None and doubt and shares:
        reached, since = _as_routed(manifest.rollout, shares)
    if reached == len(manifest.rollout.stages) - 1:
        return None
    return Underway(manifest, contract, traffic, reached, since, doubt)


def _doubt(tower: Tower, folder: Path) -> str | None:
    settings = tower.settings
    try:
        policy.verify(folder, tower.trust_root, settings.environment, settings.approval_roles)
    except MedtowerError as error:
        return str(error)
    return None


def _traffic(tower: Tower, folder: Path, release: Release) -> Traffic | None:
    try:
        if traffic := traffic_file.verify(folder, tower.trust_root):
            steps.check(release, traffic)
    except MedtowerError:  # it is part of the doubt
        return None
    return traffic


def _routed(tower: Tower, manifest: Manifest, digest: str) -> list[tuple[datetime, float]]:
    """From when on the reconciler sent which share (percent) to the release, in the order of time, by its own events: a committer's clock is
    whatever a pusher says it is."""
    told = rows.about(tower.database, digest, RECONCILER, "serves", "routes")
    changes = exposure.from_events(told, manifest.model)
    return [(c.at, s.weight) for c in changes for s in c.shares if s.version == manifest.version]


def _as_routed(plan: Plan, shares: Sequence[tuple[datetime, float]]) -> tuple[int, datetime | None]:
    """The stage of the last share, and when the first event of that share was."""
    weight = shares[-1][1]
    reached = max((i for i, share in enumerate(plan.stages) if share <= weight), default=0)
    return reached, _first(shares, weight)


def _first(shares: Sequence[tuple[datetime, float]], weight: float) -> datetime | None:
    """When the first event of that share was. Requests before it were split otherwise."""
    return next((at for at, share in shares if share == weight), None)


def look(tower: Tower, found: Underway, moment: datetime) -> list[Verdict]:
    """The verdicts on the present stage, from the requests since it began; one more, that it may not go on, while something is in doubt."""
    record = RolloutRecord(tower.settings.dsn.get_secret_value())
    if opened := record.opened(found.manifest.model, dossier.digest(found.manifest)):
        return [_broken(opened)]
    if found.since is None:
        return [_hold("routing", "the reconciler has not routed to it yet")]
    verdicts = _judged(record, found, found.since, moment)
    return [*verdicts, _hold("release policy", found.doubt)] if found.doubt else verdicts


def _judged(record: RolloutRecord, found: Underway, since: datetime, moment: datetime) -> list[Verdict]:
    manifest, plan = found.manifest, found.plan
    if manifest.replaces is None:
        raise NotFound(f"the incumbent of {manifest.model} {manifest.version}", "its manifest")
    current = record.arm(manifest.model, manifest.replaces, since, moment, moment)
    candidate = record.arm(manifest.model, manifest.version, since, moment, moment)
    shadowed = plan.stages[found.stage] == 0
    pairs = record.pairs(manifest.model, manifest.version, since, moment) if shadowed else None
    held = (moment - since).total_seconds() / 3600
    return judge(
        found.contract,
        plan,
        found.stage,
        Arm(**current),
        Arm(**candidate),
        held_hours=held,
        pairs=Pairs(**pairs) if pairs else None,
    )


def _broken(opened: datetime) -> Verdict:
    """The gateway sends this version nobody any more, so no test would ever have data again; a breaker never closes by itself."""
    reason = f"the gateway's circuit breaker opened at {opened:%Y-%m-%d %H:%M:%SZ}"
    return Verdict(kind="rollout", name="breaker", decision=Decision.ROLLBACK, reason=reason)


def _hold(name: str, reason: str) -> Verdict:
    return Verdict(kind="rollout", name=name, decision=Decision.HOLD, reason=reason)


def _act(
    tower: Tower,
    found: Underway,
    decision: Decision,
    verdicts: Sequence[Verdict],
    reason: str,
    moment: datetime,
) -> str | None:
    name, version = found.manifest.model, found.manifest.version
    if decision is Decision.PROMOTE:
        commit = model_tree.until_pushed(tower.repository, lambda: _step(tower, found, verdicts, moment))
        share = found.plan.stages[found.stage + 1]
        trail.note(tower.database, ACTOR, "advances", f"{name} {version}", percent=share, commit=commit)
        _share(tower, name)
        return commit
    if decision is Decision.ROLLBACK:
        return take_back(tower, name, reason, actor=ACTOR, version=version).commit
    return None


def _share(tower: Tower, name: str) -> None:
    try:
        pull_request.share(tower)
    except MedtowerError as error:  # the step stands; reconcile_health shares it later
        log.warning("the forge gets the step later", extra={"model": name, "reason": str(error)})


def _step(tower: Tower, found: Underway, verdicts: Sequence[Verdict], moment: datetime) -> str:
    manifest, following = found.manifest, found.stage + 1
    digest = dossier.digest(manifest)
    completed = list(found.traffic.completed) if found.traffic else []
    if following == len(found.plan.stages) - 1:
        completed = [*completed, digest][-COMPLETED_KEPT:]
    traffic = Traffic(
        model=manifest.model,
        digest=digest,
        step=following,
        decided_at=moment.replace(microsecond=0),
        verdicts=list(verdicts),
        completed=completed,
    )
    with tower.repository.checkout() as work:
        _check_unmoved(tower, found, work.tip or MAIN)
        folder = work.folder / model_tree.path(manifest.model)
        traffic_file.write(folder, traffic, tower.settings.path("rollout_key"))
        share = found.plan.stages[following]
        commit = work.commit(f"Advance {manifest.model} {manifest.version} to {share:g} % of patients")
        work.push(expected=work.tip)
    return commit


def _check_unmoved(tower: Tower, found: Underway, tip: str) -> None:
    """Raise Conflict when main is not what was judged: another look took the step, or somebody took the version back."""
    name = found.manifest.model
    released = model_tree.release_at(tower.repository, tip, name).digest
    traffic = history.traffic_at(tower.repository, tip, name)
    if (released, traffic) != (dossier.digest(found.manifest), found.traffic):
        raise Conflict(
            f"the rollout of {name} {found.manifest.version} was moved while it was judged; look again"
        )
