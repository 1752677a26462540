"""What a release made of a row before. Inferences are kept, not answers: each request still gets an answer and a place in the record of its own.

The key is SHA-256 over the release digest and the encoded row, so another version, another contract or another input never meets a number
that is not its own.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from medtower.domain.routing import Arm, Route
from medtower.gateway.links import guarded
from medtower.settings import Settings

NAN = array("f", [math.nan])[0]


class Cache(Protocol):
    """Where inferences lie. Nothing here raises: what cannot be had is a miss."""

    async def get(self, digest: str, row: array[float]) -> float | None:
        """What the release `digest` (SHA-256, hexadecimal) made of `row` (float32 [inputs]), None when that is not known."""

    async def put(self, digest: str, row: array[float], value: float, seconds: int) -> None:
        """Keep `value` for `seconds`."""

    async def close(self) -> None: ...


def opened(settings: Settings, key: bytes, failed: Callable[[str], None]) -> Cache:
    """The cache as it is set: in Redis, else in this process. `key` is the subject key; `failed` counts what Redis did not do, by reason. Raises
    Refused for a Redis that is reached over the network without TLS; one that is down is no error."""
    url = settings.redis_url.get_secret_value()
    if not url:
        return InProcess(settings.cache_entries)
    from medtower.gateway.answering.cache_redis import InRedis

    guarded("MEDTOWER_REDIS_URL", url, schemes=("redis", "unix"), encrypted="rediss")
    return InRedis(url, key, settings.environment, failed)


def lifetime(route: Route | None, arm: Arm) -> int:
    """For how many seconds what `arm` says may be kept and used again; 0 is not at all.

    The contract says so. While a rollout is under way, with a candidate or a shadow, nothing is taken from the cache: versions are compared by
    their latency, and one that need not compute would win. An emergency is always computed anew.
    """
    contract = arm.contract
    if not contract.cache_seconds or route is None or len(route.arms) != 1 or route.shadow:
        return 0
    return 0 if contract.emergency else contract.cache_seconds


def key_of(digest: str, row: array[float]) -> bytes:
    """SHA-256 over the release digest (64 characters) and the row: little-endian float32, a missing value always the same NaN."""
    exact = row
    if math.isnan(
        sum(row)
    ):  # cheaper than asking each number; infinities of both signs come here for nothing
        exact = array("f", [NAN if math.isnan(number) else number for number in row])
    if sys.byteorder == "big":
        exact = array("f", exact)
        exact.byteswap()
    return hashlib.sha256(digest.encode() + exact.tobytes()).digest()


class InProcess:
    """Up to `most` inferences in this process's memory; the one that was not asked for the longest makes room. `clock` is monotonic, in seconds."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._kept: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    async def get(self, digest: str, row: array[float]) -> float | None:
        key = key_of(digest, row)
        found = self._kept.get(key)
        if found is None:
            return None
        value, until = found
        if until <= self._clock():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return value

    async def put(self, digest: str, row: array[float], value: float, seconds: int) -> None:
        key = key_of(digest, row)
        self._kept[key] = value, self._clock() + seconds
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    async def close(self) -> None:
        self._kept.clear()
