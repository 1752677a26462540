"""The cache in Redis, shared by gateways and kept over their restarts. Nobody waits for it: it has 20 ms, and whatever goes wrong is a miss.

Whoever can write to Redis must not be able to invent predictions, so every value is authenticated together with its key and its expiry;
whoever can read it must not be able to try rows until one fits, so the names are keyed hashes. Both keys derive from the subject key.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import math
import struct
import time
from array import array
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from medtower.gateway.answering.cache import key_of

log = logging.getLogger(__name__)
BUDGET = 0.02
CONNECTIONS = 16
CONNECTING = 2.0
LONGEST_REST = 30.0
PUTS = 256
CONTENT = struct.Struct("<dd")  # the value, and when it expires (Unix time in seconds)
MAC = hashlib.sha256().digest_size


class InRedis:
    """`url` is a redis, rediss or unix URL, `key` the subject key, `failed` counts what Redis did not do, by reason.

    After a failure it is left alone until it has answered a ping: a Redis that hangs costs a few requests 20 ms, and the rest nothing.
    """

    def __init__(
        self, url: str, key: bytes, environment: str, failed: Callable[[str], None], *, budget: float = BUDGET
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=budget,
            socket_connect_timeout=CONNECTING,
            socket_timeout=CONNECTING,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._redis: Any = Redis.from_pool(pool)  # which closes it as well
        self._prefix = f"medtower:{environment}:inference:"
        self._naming, self._sealing = (
            hmac.digest(key, f"medtower cache {use} {environment}".encode(), "sha256")
            for use in ("names", "values")
        )
        self._failed, self._budget = failed, budget
        self._up = False
        self._coming_back: asyncio.Task[None] | None = None
        self._puts: set[asyncio.Task[None]] = set()

    async def get(self, digest: str, row: array[float]) -> float | None:
        if not self._reachable():
            return None
        name = self._name(digest, row)
        content = await self._within_budget(self._redis.get(name))
        return None if content is None else self._opened(name, content)

    async def put(self, digest: str, row: array[float], value: float, seconds: int) -> None:
        """Keep it some time after this returns: no answer waits for it."""
        if not self._reachable():
            return
        if len(self._puts) >= PUTS:
            self._failed("shed")
            return
        name = self._name(digest, row)
        kept = self._redis.set(name, self._sealed(name, value, time.time() + seconds), ex=seconds)
        task = asyncio.get_running_loop().create_task(self._within_budget(kept))
        self._puts.add(task)
        task.add_done_callback(self._puts.discard)

    async def close(self) -> None:
        for task in (*self._puts, *([self._coming_back] if self._coming_back else [])):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._redis.aclose()

    def _name(self, digest: str, row: array[float]) -> str:
        return self._prefix + hmac.digest(self._naming, key_of(digest, row), "sha256").hex()

    def _sealed(self, name: str, value: float, until: float) -> bytes:
        content = CONTENT.pack(value, until)
        return content + hmac.digest(self._sealing, name.encode() + content, "sha256")

    def _opened(self, name: str, sealed: bytes) -> float | None:
        """The value, None when it is not what this gateway or one like it put there under this name, or is too old."""
        content, mac = sealed[:-MAC], sealed[-MAC:]
        expected = hmac.digest(self._sealing, name.encode() + content, "sha256")
        if not hmac.compare_digest(mac, expected):
            self._failed("forged")
            return None
        value, until = CONTENT.unpack(content)
        return float(value) if until > time.time() and math.isfinite(value) else None

    def _reachable(self) -> bool:
        if not self._up and self._coming_back is None:
            nobodys = Context()  # what it logs belongs to no request
            self._coming_back = asyncio.get_running_loop().create_task(self._come_back(), context=nobodys)
        return self._up

    async def _within_budget(self, asked: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._budget):
                return await asked
        except TimeoutError:
            self._lost("timeout")
        except ResponseError:  # out of memory, read-only, another type under this name: the next may go well
            self._failed("refused")
        except Exception:  # whatever it was, the number can be computed
            self._lost("connection")
        return None

    def _lost(self, reason: str) -> None:
        self._failed(reason)
        if self._up:
            self._up = False
            log.warning(
                "the cache in Redis does not answer; every inference is computed", extra={"reason": reason}
            )

    async def _come_back(self) -> None:
        """Ping until Redis answers, then open the other connections as well: one that has to be opened first would not be there in 20 ms."""
        rest = 0.25
        while not await self._pinged():
            await asyncio.sleep(rest)
            rest = min(LONGEST_REST, 2 * rest)
        self._up, self._coming_back = True, None
        log.info("the cache in Redis answers")

    async def _pinged(self) -> bool:
        try:
            async with asyncio.timeout(CONNECTING):
                await asyncio.gather(*(self._redis.ping() for _ in range(CONNECTIONS)))
        except Exception as error:  # or nobody would ever ask again
            self._failed("timeout" if isinstance(error, TimeoutError) else "connection")
            return False
        return True
