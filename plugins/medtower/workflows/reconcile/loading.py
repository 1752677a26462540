"""What Triton has READY. Neither its 200 nor its error says that: the repository index does, after every load."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from medtower.adapters.triton import READY, Triton
from medtower.errors import ModelMisbehaved, Unavailable
from medtower.serving import config
from medtower.workflows.reconcile import weights
from medtower.workflows.reconcile.memory import Verified
from medtower.workflows.reconcile.parts import Parts


def ready(triton: Triton, model: str) -> set[int]:
    """The versions of `model` that can answer now."""
    return {version for (name, version), state in triton.index().items() if name == model and state == READY}


def serve_exactly(parts: Parts, newest: Verified, known: Collection[Verified], versions: set[int]) -> None:
    """Have exactly `versions` READY, with every file of `known` versions re-hashed before Triton reads it. Nothing is done when it is so already.

    All versions share the config.pbtxt of `newest`. A version that is not known stays in Triton's memory as long as nobody touches its file.
    Raises ModelMisbehaved when others are READY after the load.
    """
    model = newest.manifest.model
    text = config.with_versions(newest.config, versions)
    before = ready(parts.triton, model)
    if before == versions and _written(parts, model) == text:
        return
    for each in known:
        if each.version in versions:
            weights.ensure(parts, each.manifest, rehash=True)
    parts.store.write_config(model, text)
    parts.reached("configured")
    started = time.monotonic()
    why = _load(parts.triton, model)
    loaded = ready(parts.triton, model)
    if loaded != versions:
        what = f"versions {_listed(loaded)} are READY where {_listed(versions)} should be ({why})"
        raise ModelMisbehaved(model, newest.version, what)
    parts.reached("loaded")
    for version in versions - before:
        parts.metrics.loaded(model, version, time.monotonic() - started)


def _written(parts: Parts, model: str) -> str | None:
    """The config.pbtxt in the store; None when there is none, or when it was damaged so far that it is no text: it is written anew then."""
    try:
        return parts.store.config(model)
    except UnicodeDecodeError:
        return None


def _load(triton: Triton, model: str) -> str:
    """Ask for the load and return what Triton said."""
    try:
        triton.load(model)
    except Unavailable as error:
        if not triton.live():
            raise
        return str(error)
    return "Triton reported success"


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "none"
