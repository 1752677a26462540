"""Bring one model to its desired state: weights, config.pbtxt, load, exact READY set, golden inference, routing, and only then drop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from medtower.adapters.triton import READY, Triton
from medtower.domain.release import Manifest
from medtower.domain.routing import Arm, Route
from medtower.errors import MedtowerError, ModelMisbehaved, NotFound, Refused, Unavailable
from medtower.releases import canonical, dossier
from medtower.serving import config, golden, routing
from medtower.serving.store import Store
from medtower.training import policy as onnx_policy
from medtower.workflows.reconcile_desired import Desired
from medtower.workflows.reconcile_memory import Memory, Verified
from medtower.workflows.reconcile_metrics import ReconcileMetrics

log = logging.getLogger(__name__)
CURRENT = "current"
Fetch = Callable[[Manifest, Path], None]


@dataclass(frozen=True)
class Parts:
    """What a model's reconciliation works on. `unsound` is told of weights in the store that are not what was signed."""

    store: Store
    triton: Triton
    memory: Memory
    metrics: ReconcileMetrics
    fetch: Fetch
    unsound: Callable[[str, int, MedtowerError], None]


def served(route: Route | None) -> int | None:
    """The version that a route sends requests to; None when there is none."""
    return route.arms[0].version if route and route.arms else None


def reconcile(
    parts: Parts, desired: Desired, incumbent: Route | None, publish: Callable[[Route], None]
) -> None:
    """Make `desired` serve in place of `incumbent`; `publish` is called once the new route may be obeyed.

    Raises a MedtowerError when it may not or cannot serve: then nothing was published, and `restore` puts the incumbent's versions back.
    """
    if desired.error is not None:
        raise desired.error
    if desired.verified is None or desired.golden is None:
        reason = desired.release.reason if desired.release else ""
        publish(Route(model=desired.model, reason=reason or "no model is released"))
        return
    model, wanted, now = desired.model, desired.verified, served(incumbent)
    route = _route(wanted)
    routing.check(route)
    _check_width(parts, wanted, now)
    _ensure_weights(parts, wanted.manifest, rehash=False)
    keep = _keep(parts, wanted, now)
    _serve_exactly(parts, wanted, keep)
    answers = parts.triton.infer(model, wanted.version, desired.golden.rows)
    golden.check(
        desired.golden.expected, answers, desired.golden.tolerance, model=model, version=wanted.version
    )
    parts.memory.serves(model, wanted)
    publish(route)
    # the version that was routed to until now stays: requests for it are still on their way
    _serve_exactly(
        parts, wanted, keep & {wanted.version, now, *(v.version for v in parts.memory.others(model))}
    )


def restore(parts: Parts, model: str, incumbent: Route | None) -> None:
    """After a failure: have exactly the incumbent and its warm predecessor loaded, also when Triton was restarted meanwhile."""
    now = served(incumbent)
    known = parts.memory.get(model, now) if now else None
    if known is not None:
        warm = [v.version for v in parts.memory.others(model, now) if _sound(parts, v)]
        _serve_exactly(parts, known, {known.version, *warm})


def withdraw(parts: Parts, model: str) -> None:
    """The model is gone from git: unload what is loaded of it."""
    if ready(parts.triton, model):
        parts.triton.unload(model)


def ready(triton: Triton, model: str) -> set[int]:
    """The versions of `model` that can answer now."""
    return {version for (name, version), state in triton.index().items() if name == model and state == READY}


def _route(wanted: Verified) -> Route:
    manifest = wanted.manifest
    arm = Arm(
        name=CURRENT,
        version=manifest.version,
        digest=dossier.digest(manifest),
        weight=100,
        contract=wanted.contract,
    )
    return Route(model=manifest.model, arms=[arm])


def _check_width(parts: Parts, wanted: Verified, now: int | None) -> None:
    """One config.pbtxt is shared by all versions: another number of inputs would take the incumbent down."""
    current = parts.store.config(wanted.manifest.model)
    if now is None or current is None:
        return
    old, new = config.width(current), config.width(wanted.config)
    if old != new:
        raise Refused(
            "inputs", f"{wanted.manifest.model} serves {old} inputs, version {wanted.version} takes {new}"
        )


def _keep(parts: Parts, wanted: Verified, now: int | None) -> set[int]:
    """The versions to have loaded before routing changes: the desired one, the incumbent, and what served before them."""
    model = wanted.manifest.model
    if now == wanted.version:  # nothing is urgent: a warm predecessor that was damaged is repaired
        return {now, *(v.version for v in parts.memory.others(model, now) if _repaired(parts, v))}
    keep = {
        wanted.version,
        *(v.version for v in parts.memory.others(model, wanted.version) if _sound(parts, v)),
    }
    if now is not None and now not in keep and now in ready(parts.triton, model):
        # forgotten or damaged on disk, but in memory: as long as its file is not touched again, loading leaves it there
        known = parts.memory.get(model, now)
        if known is not None:
            _ensure_weights(parts, known.manifest, rehash=True)
        keep.add(now)
    return keep


def _sound(parts: Parts, known: Verified) -> bool:
    manifest = known.manifest
    try:
        parts.store.check(manifest.model, manifest.version, manifest.weights.sha256, rehash=False)
    except (NotFound, Refused) as error:
        parts.unsound(manifest.model, manifest.version, error)
        return False
    return True


def _repaired(parts: Parts, known: Verified) -> bool:
    try:
        _ensure_weights(parts, known.manifest, rehash=False)
    except MedtowerError as error:
        log.warning(
            "the previous version cannot be kept warm",
            extra={"model": known.manifest.model, "version": known.version, "reason": str(error)},
        )
        return False
    return True


def _serve_exactly(parts: Parts, wanted: Verified, versions: set[int]) -> None:
    """Have exactly `versions` READY, with every file re-hashed before Triton reads it. Nothing is done when that is so already."""
    model = wanted.manifest.model
    text = config.with_versions(wanted.config, versions)
    before = ready(parts.triton, model)
    if before == versions and parts.store.config(model) == text:
        return
    for known in (wanted, *parts.memory.others(model, wanted.version)):
        if known.version in versions:
            _ensure_weights(parts, known.manifest, rehash=True)
    parts.store.write_config(model, text)
    started = time.monotonic()
    why = _load(parts.triton, model)
    loaded = ready(parts.triton, model)
    if loaded != versions:
        what = f"versions {_listed(loaded)} are READY where {_listed(versions)} should be ({why})"
        raise ModelMisbehaved(model, wanted.version, what)
    if wanted.version not in before:
        parts.metrics.loaded(model, wanted.version, time.monotonic() - started)


def _load(triton: Triton, model: str) -> str:
    """Ask for the load and return what Triton said: neither a 200 nor an error says which versions are READY now."""
    try:
        triton.load(model)
    except Unavailable as error:
        if not triton.live():
            raise
        return str(error)
    return "Triton reported success"


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"


def _ensure_weights(parts: Parts, manifest: Manifest, *, rehash: bool) -> None:
    """Have the signed bytes at their place: what is there when it is sound, else fetched once into a fresh place."""
    try:
        parts.store.check(manifest.model, manifest.version, manifest.weights.sha256, rehash=rehash)
    except NotFound:
        log.info(
            "weights are not in the store yet", extra={"model": manifest.model, "version": manifest.version}
        )
    except Refused as error:
        parts.unsound(manifest.model, manifest.version, error)
    else:
        return
    with parts.store.staged(manifest.weights.bytes) as fresh:
        parts.fetch(manifest, fresh)
        if canonical.sha256(fresh) == manifest.weights.sha256:  # other bytes are refused below, unread
            onnx_policy.inspect(fresh)
        parts.store.place(manifest.model, manifest.version, fresh, manifest.weights.sha256)
