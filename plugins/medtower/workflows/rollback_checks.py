"""After a rollback: is the version loaded, does it answer, as it was signed, as steadily as before, without errors?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import numpy as np

from medtower.adapters.postgres.rollout_record import RolloutRecord
from medtower.domain.check import Check
from medtower.domain.routing import Route
from medtower.errors import MedtowerError, ModelMisbehaved, Unavailable
from medtower.serving import routing
from medtower.statistics.intervals import newcombe
from medtower.statistics.quantile import quantile_interval
from medtower.workflows.await_release import answering
from medtower.workflows.rollback_history import TakenBack
from medtower.workflows.smoke import check_golden
from medtower.workflows.tower import Tower

BEFORE = timedelta(days=7)
LATELY = timedelta(hours=1)  # an error long past does not keep an incident open
FEWEST = 30  # answers on either side, below which the same few patients would be called a change
SHOWN = 100
"""Answers on either side from which no change seen means something: a change of the share of high answers from 50 to 70 % is then found in 4 of 5
cases (two proportions, 5 % level), and the 95 % interval of the 95th percentile exists (from 72)."""
LATENCY = 0.95
GATEWAY_SECONDS = 5.0

Seen = tuple[bool | None, str]
Look = Callable[[Tower, TakenBack, datetime], Seen]


def checks(tower: Tower, done: TakenBack, now: datetime) -> list[Check]:
    """The post-rollback validation: routed, version loaded, golden predictions match, endpoint answers, no errors, metrics steady.

    A part that is down, or a reconciler that has not seen the commit yet, makes a check "not known", never "passed". `done` is what main says.
    """
    looks = {"routed": _routed, **(SERVING if done.to else {}), "endpoint answers": _endpoint}
    late = None if followed(tower, done.commit) else "the reconciler has published nothing since the commit"
    found = [
        Check(name=name, passed=None, told=late) if late else _check(name, look, tower, done, now)
        for name, look in looks.items()
    ]
    return [*found, *(_check(name, look, tower, done, now) for name, look in TRAFFIC.items() if done.to)]


def followed(tower: Tower, commit: str) -> bool:
    """True once the published routes were made from a main that holds `commit`."""
    try:
        return tower.repository.is_ancestor(commit, routing.read(tower.settings.path("routing")).commit)
    except MedtowerError:
        return False


def _check(name: str, look: Look, tower: Tower, done: TakenBack, now: datetime) -> Check:
    try:
        passed, told = look(tower, done, now)
    except ModelMisbehaved as error:
        passed, told = False, str(error)
    except MedtowerError as error:
        passed, told = None, str(error)
    return Check(name=name, passed=passed, told=told)


def _route(tower: Tower, done: TakenBack) -> Route:
    found = routing.read(tower.settings.path("routing")).routes.get(done.model)
    return found or Route(model=done.model)


def _routed(tower: Tower, done: TakenBack, _: datetime) -> Seen:
    route = _route(tower, done)
    arms = ", ".join(f"version {a.version} at {a.weight:g} %" for a in route.arms)
    back = not route.versions & set(done.versions) and bool(route.arms) == bool(done.to)
    return back, arms or f"nobody is routed to a version ({route.reason})"


def _loaded(tower: Tower, done: TakenBack, _: datetime) -> Seen:
    # asked as anybody may: Triton's index needs the key that loads and unloads
    ready = tower.triton.ready(done.model, done.to or 0)
    if not ready and not tower.triton.ready():
        raise Unavailable("Triton", "it does not answer")
    return ready, f"Triton says of version {done.to}: {'READY' if ready else 'not ready'}"


def _golden(tower: Tower, done: TakenBack, _: datetime) -> Seen:
    return True, f"version {done.to} answers {check_golden(tower, done.model, done.to or 0)} rows as signed"


def _endpoint(tower: Tower, done: TakenBack, _: datetime) -> Seen:
    settings = tower.settings
    headers = {"X-API-Key": settings.gateway_key.get_secret_value()}
    with httpx.Client(
        base_url=settings.gateway_url, headers=headers, timeout=GATEWAY_SECONDS, trust_env=False
    ) as client:
        digests = answering(client).get(done.model, set())
    if digests != {arm.digest for arm in _route(tower, done).arms}:
        return False, "the gateway does not answer by the published routes"
    return (
        True,
        f"the gateway answers by release {', '.join(d[:12] for d in digests)}"
        if digests
        else "the gateway answers 503",
    )


def _errors(tower: Tower, done: TakenBack, now: datetime) -> Seen:
    """By the newest requests only: an error that is over does not count for ever."""
    failed = _record(tower).arm(done.model, done.to or 0, max(done.at, now - LATELY), now, now)["failed"]
    if not len(failed):
        return None, "no request came lately"
    return not failed.any(), f"{int(failed.sum())} of the {len(failed)} newest requests failed"


def _steady(tower: Tower, done: TakenBack, now: datetime) -> Seen:
    """Neither the latency quantile nor the share of answers above the middle of the earlier ones differs by its 95 % interval from what the same
    version did before it was replaced. A change counts from `FEWEST` answers on; that none is seen only from `SHOWN` on, before that it is not known."""
    record, version = _record(tower), done.to or 0
    before = record.arm(done.model, version, done.at - BEFORE, done.at, now)
    since = record.arm(done.model, version, done.at, now, now)
    old, new = before["prediction"][~before["failed"]], since["prediction"][~since["failed"]]
    if min(len(old), len(new)) < FEWEST:
        return (
            None,
            f"insufficient data: {len(new)} answers since, {len(old)} in the week before, {FEWEST} needed",
        )
    middle = float(np.median(old))
    apart = newcombe(int(np.sum(new > middle)), len(new), int(np.sum(old > middle)), len(old))
    slow = quantile_interval(since["latency_ms"][~since["failed"]], LATENCY)
    fast = quantile_interval(before["latency_ms"][~before["failed"]], LATENCY)
    slower = bool(slow and fast and slow[1] > fast[2])
    told = f"share of high answers changed by {apart.value:+.3f} ({apart.lower:+.3f} to {apart.upper:+.3f}), n={len(new)}"
    if slower or not apart.lower <= 0 <= apart.upper:
        return False, told + ("; slower than before" if slower else "")
    if min(len(old), len(new)) < SHOWN:
        return None, f"{told}; no change is seen, but {SHOWN} answers since and before are needed to say so"
    return True, told


def _record(tower: Tower) -> RolloutRecord:
    return RolloutRecord(tower.settings.dsn.get_secret_value())


SERVING: dict[str, Look] = {"version loaded": _loaded, "golden predictions match": _golden}
TRAFFIC: dict[str, Look] = {"no errors": _errors, "metrics steady": _steady}
