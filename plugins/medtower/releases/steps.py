"""One step of a rollout: what the rollout bot may write into traffic.yaml next, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta

from medtower.domain.release import Release
from medtower.domain.rollout import COMPLETED_KEPT, Traffic, stage
from medtower.domain.verdict import Decision, overall
from medtower.errors import Refused
from medtower.releases.traffic_file import RULE

# by how much the clocks of two machines may disagree
CLOCKS_DIFFER = timedelta(minutes=10)
# of the decision; a longer one would let steps be dated back, and no stage be held
PUSHED_WITHIN = timedelta(hours=1)


def check(release: Release, traffic: Traffic) -> None:
    """Raise Refused unless `traffic` is of a stage that the plan has, reached by verdicts that say PROMOTE. Another release's traffic is stale and
    counts as not started, so it is not judged."""
    if release.digest is None or release.rollout is None or traffic.digest != release.digest:
        return
    if not 1 <= traffic.step < len(release.rollout.stages):
        raise Refused(
            RULE, f"{release.model} {release.version} has no stage {traffic.step}; follow its approved plan"
        )
    if traffic.decided_at.tzinfo is None:
        raise Refused(
            RULE, f"{release.model} {release.version}: decided_at has no time zone; write it in UTC"
        )
    if (
        any(v.kind != "rollout" for v in traffic.verdicts)
        or overall(traffic.verdicts) is not Decision.PROMOTE
    ):
        raise Refused(
            RULE, f"{release.model} {release.version}: a step needs rollout verdicts that all say PROMOTE"
        )


def check_step(
    release: Release | None,
    before: Traffic | None,
    after: Traffic,
    *,
    promoted: datetime,
    now: datetime | None = None,
    arriving: bool = True,
) -> None:
    """Raise Refused unless `after` is exactly one stage further than `before` along the approved plan of `release`, held for its hours.

    `promoted` (aware) is the time of the promotion's commit, from which the hours of stage 0 count. `now` (aware) is the judge's clock, after which
    nothing was decided; None where there is none. `arriving` is True while the step reaches main, so that it was not decided long before either.
    """
    if release is None or release.digest is None or release.rollout is None:
        raise Refused(RULE, f"no model of {after.model} is released: there is no rollout to advance")
    said = f"{release.model} {release.version}"
    if after.digest != release.digest:
        raise Refused(RULE, f"the step is of another release than {said}, which is released now")
    check(release, after)
    plan, last = release.rollout, len(release.rollout.stages) - 1
    reached = stage(plan, release.digest, before)
    if after.step != reached + 1:
        raise Refused(
            RULE, f"{said} is at stage {reached} of {last}; one step at a time, not to {after.step}"
        )
    if now:
        _check_decided(said, after.decided_at, now, arriving)
    began = before.decided_at if before and before.digest == release.digest else promoted
    _check_held(said, plan.hold_of(reached), began, after.decided_at)
    completed = list(before.completed) if before else []
    if after.step == last:
        completed = [*completed, release.digest][-COMPLETED_KEPT:]
    if after.completed != completed:
        raise Refused(
            RULE, f"{said}: `completed` grows by the release that reached everybody, and by nothing else"
        )


def _check_decided(said: str, decided: datetime, now: datetime, arriving: bool) -> None:
    if decided > now + CLOCKS_DIFFER:
        raise Refused(
            RULE, f"{said}: the step is decided in the future; the hours of a stage must have passed"
        )
    if arriving and decided < now - PUSHED_WITHIN:
        raise Refused(RULE, f"{said}: the step was decided {now - decided} ago; look again")


def _check_held(said: str, hours: float, began: datetime, decided: datetime) -> None:
    held = decided - began
    if held < timedelta(hours=hours):
        raise Refused(
            RULE, f"{said}: the stage was held for {held / timedelta(hours=1):.1f} h of {hours:g} h"
        )
