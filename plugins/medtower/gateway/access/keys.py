"""API keys as this process knows them: read again whenever the file changes, and none at all while it cannot be trusted."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
from dataclasses import dataclass
from pathlib import Path

from medtower.adapters import api_keys
from medtower.domain.access import Caller, actions_of
from medtower.domain.api_key import ApiKey, HashedSecret
from medtower.errors import MedtowerError, NotFound, Unavailable
from medtower.gateway.watched import Watched

log = logging.getLogger(__name__)
LONGEST = 256


@dataclass(frozen=True, slots=True)
class Limit:
    """`rate` requests a second, and `burst` at once after a pause."""

    rate: float
    burst: float


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login is good for, before `until` (seconds since 1970)."""

    caller: Caller
    limit: Limit
    until: float


class Keys:
    """The keys at `path`. Every request looks whether there are others, so a key that is revoked counts no more."""

    def __init__(self, path: Path, limit: Limit) -> None:
        self._path, self._file, self._limit = path, Watched(path), limit
        self._broken = ""
        self._by_digest: dict[bytes, tuple[bytes, Grant]] = {}
        self._recent: dict[bytes, Grant] = {}
        self._read()

    def find(self, presented: bytes, now: float) -> Grant | None:
        """The grant of a key, None when it has none. Raises Unavailable while the file is there but cannot be trusted.

        A key that was accepted before is found by its bytes, in a table whose hash is keyed anew in every process; any other by its SHA-256,
        compared in constant time. So no time depends on how much of a key is right.
        """
        if self._file.changed():
            self._read()
        if self._broken:
            raise Unavailable("access", "the API keys cannot be read; see the gateway's log")
        grant = self._recent.get(presented) or self._look(presented)
        return grant if grant is not None and now < grant.until else None

    def _look(self, presented: bytes) -> Grant | None:
        if len(presented) > LONGEST:
            return None
        digest = hashlib.sha256(presented).digest()
        known, grant = self._by_digest.get(digest, (b"", None))
        if grant is None or not hmac.compare_digest(known, digest):
            return None
        self._recent[presented] = (
            grant  # only what is right is kept, so there are never more than secrets in the file
        )
        return grant

    def _read(self) -> None:
        self._file.look()
        self._by_digest, self._recent, self._broken = {}, {}, ""
        try:
            keys = api_keys.read(self._path).keys
        except NotFound as error:
            log.error("nobody has an API key", extra={"reason": str(error)})
        except MedtowerError as error:
            self._broken = str(error)
            log.error("no API key counts", extra={"reason": self._broken})
        else:
            self._by_digest = {
                d: (d, grant) for key in keys if not key.revoked for d, grant in self._grants(key)
            }
            log.info("API keys were read", extra={"count": len(keys)})

    def _grants(self, key: ApiKey) -> list[tuple[bytes, Grant]]:
        models = None if key.models is None else frozenset(key.models)
        caller = Caller(key.id, actions_of([key.role]), models)
        limit = Limit(key.rate or self._limit.rate, key.burst or self._limit.burst)
        return [
            (bytes.fromhex(secret.sha256), Grant(caller, limit, _until(key, secret)))
            for secret in key.secrets
        ]


def _until(key: ApiKey, secret: HashedSecret) -> float:
    ends = [moment.timestamp() for moment in (key.expires, secret.until) if moment is not None]
    return min(ends, default=math.inf)
