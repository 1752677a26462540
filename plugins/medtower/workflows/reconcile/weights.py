"""The bytes on disk: at their place, whole, and those that were signed."""

from __future__ import annotations

import logging

from medtower.domain.release import Manifest
from medtower.errors import MedtowerError, NotFound, Refused
from medtower.workflows.reconcile.memory import Verified
from medtower.workflows.reconcile.parts import Parts

log = logging.getLogger(__name__)


def ensure(parts: Parts, manifest: Manifest, *, rehash: bool) -> None:
    """Have the signed bytes at their place: what is there when it is sound, else fetched afresh.

    Raises StillFetching while they are on their way, Refused when the version number belongs to other weights, or what the download failed with.
    """
    parts.memory.bind(manifest)
    try:
        parts.store.check(manifest.model, manifest.version, manifest.weights.sha256, rehash=rehash)
        return
    except NotFound:
        pass
    except Refused as error:
        parts.unsound(manifest.model, manifest.version, error)
    fetched = parts.downloads.get(manifest)
    parts.reached("fetched")
    parts.store.place(manifest.model, manifest.version, fetched, manifest.weights.sha256)
    log.info("weights are at their place", extra={"model": manifest.model, "version": manifest.version})
    parts.reached("placed")


def sound(parts: Parts, known: Verified) -> bool:
    """True when the version lies on disk as it was signed; nothing is fetched."""
    manifest = known.manifest
    try:
        parts.store.check(manifest.model, manifest.version, manifest.weights.sha256, rehash=False)
    except (NotFound, Refused) as error:
        parts.unsound(manifest.model, manifest.version, error)
        return False
    return True


def repaired(parts: Parts, known: Verified) -> bool:
    """True when the version lies on disk as it was signed, fetched again where it was damaged; False says that it cannot be kept warm."""
    try:
        ensure(parts, known.manifest, rehash=False)
    except MedtowerError as error:
        extra = {"model": known.manifest.model, "version": known.version, "reason": str(error)}
        log.warning("the previous version cannot be kept warm", extra=extra)
        return False
    return True
