"""Bring one model to its desired state: weights, config.pbtxt, load, exact READY set, golden inference, routing, and only then drop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from medtower.domain.routing import Route
from medtower.errors import MedtowerError, ModelMisbehaved, Refused
from medtower.serving import config, golden, routing
from medtower.workflows.reconcile import weights
from medtower.workflows.reconcile.desired import Desired
from medtower.workflows.reconcile.loading import ready, serve_exactly
from medtower.workflows.reconcile.memory import Verified
from medtower.workflows.reconcile.parts import Parts

log = logging.getLogger(__name__)


def reconcile(parts: Parts, desired: Desired, before: Route | None, publish: Callable[[Route], None]) -> None:
    """Make `desired` serve in place of the route `before`; `publish` is called once the new route may be obeyed.

    Raises a MedtowerError when it may not or cannot serve: then nothing was published, and `restore` puts the versions of `before` back.
    """
    if desired.error is not None:
        raise desired.error
    serving, route = desired.serving, desired.route()
    if not serving:
        publish(route)
        return
    routing.check(route)
    for each in serving:
        _check_width(each, before)
        weights.ensure(parts, each.manifest, rehash=False)
    _load(parts, serving, before)
    for each in serving:
        _try(parts, each)
    parts.reached("tried")
    parts.memory.serve(desired.model, serving)
    parts.reached("remembered")
    publish(route)
    _drop(parts, serving, before)


def restore(parts: Parts, model: str, route: Route | None) -> None:
    """After a failure: have exactly the versions of `route` and their warm predecessor loaded, also when Triton was restarted meanwhile."""
    versions = route.versions if route else set()
    remembered = parts.memory.others(model, ())
    known = [v for v in remembered if v.version in versions]
    if known:
        warm = [v for v in remembered if v not in known and weights.sound(parts, v)]
        kept = {v.version for v in (*known, *warm)} | (versions & ready(parts.triton, model))
        serve_exactly(parts, known[0], [*known, *warm], kept)
    elif not versions and not remembered:  # the first version failed: nothing routes to it
        withdraw(parts, model)


def withdraw(parts: Parts, model: str) -> None:
    """Unload what is loaded of a model that nothing routes to."""
    if ready(parts.triton, model):
        parts.triton.unload(model)


def _load(parts: Parts, serving: Sequence[Verified], before: Route | None) -> None:
    """Have at least `serving` READY beside what `before` routes to, and what served before them as long as memory allows."""
    model, wanted = serving[0].manifest.model, {v.version for v in serving}
    routed, now = before.versions if before else set(), ready(parts.triton, model)
    others = parts.memory.others(model, wanted)
    if routed == wanted:  # nothing is urgent: a warm predecessor that was damaged is repaired
        keep = [v for v in others if weights.repaired(parts, v)]
        _load_warm(parts, serving, keep, wanted)
        return
    if wanted <= now:  # a rollback: nothing has to be read from disk before routing changes
        return
    keep = [v for v in others if weights.sound(parts, v)]
    for version in (routed & now) - wanted - {v.version for v in keep}:
        # forgotten or damaged on disk, but in memory: as long as its file is not touched again, loading leaves it there
        known = parts.memory.get(model, version)
        if known is not None:
            weights.ensure(parts, known.manifest, rehash=True)
    _load_warm(parts, serving, keep, wanted | (routed & now))


def _load_warm(parts: Parts, serving: Sequence[Verified], warm: Sequence[Verified], needed: set[int]) -> None:
    versions = needed | {v.version for v in warm}
    try:
        serve_exactly(parts, serving[0], [*serving, *warm], versions)
    except ModelMisbehaved as error:
        if versions == needed:
            raise
        log.warning("the previous version is not kept warm", extra={"reason": str(error)})
        serve_exactly(parts, serving[0], [*serving, *warm], needed)


def _try(parts: Parts, each: Verified) -> None:
    """Golden inference: the server repeats the answers that were approved."""
    model, version = each.manifest.model, each.version
    answers = parts.triton.infer(model, version, each.golden.rows)
    golden.check(each.golden.expected, answers, each.golden.tolerance, model=model, version=version)


def _drop(parts: Parts, serving: Sequence[Verified], before: Route | None) -> None:
    """Unload what neither serves, nor served last, nor still gets the requests that are on their way to it."""
    model, wanted = serving[0].manifest.model, {v.version for v in serving}
    others, now = parts.memory.others(model, wanted), ready(parts.triton, model)
    keep = wanted | (before.versions if before else set()) | {v.version for v in others}
    if now <= keep:
        return
    known = [*serving, *others]
    if not all(weights.sound(parts, v) for v in known if v.version in now):
        return  # a load would read the damaged file; the next pass repairs it
    try:
        serve_exactly(parts, serving[0], known, now & keep)
    except MedtowerError as error:  # the route is right; the next pass tries again
        log.warning("an old version was not dropped", extra={"model": model, "reason": str(error)})


def _check_width(wanted: Verified, before: Route | None) -> None:
    """One config.pbtxt is shared by all versions: another number of columns would take the incumbent down. Its contract says how many it takes,
    not the file in the store, which anybody with access to the disk may have changed."""
    if before is None or not before.arms:
        return
    old, new = before.arms[0].contract.width, config.width(wanted.config)
    if old != new:
        raise Refused(
            "inputs", f"{wanted.manifest.model} serves {old} columns, version {wanted.version} takes {new}"
        )
