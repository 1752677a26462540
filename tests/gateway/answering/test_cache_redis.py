"""The cache in a real redis-server: shared, authenticated, and nobody's error when it is not there."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.gateway.answering.redis_server import Server, needs_redis, redis_server

from medtower.gateway.answering.cache import opened
from medtower.gateway.answering.cache_redis import InRedis
from medtower.settings import Settings

ONE, OTHER = "a" * 64, "b" * 64
ROW = array("f", [70.5, 1.0, 4711.0])
pytestmark = needs_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def raw(server: Server) -> Iterator[redis.Redis]:
    """What somebody who may write to Redis can do."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def up(cache: InRedis) -> InRedis:
    await cache.get(ONE, ROW)  # the first asks whether it is there
    await until(lambda: cache._up)
    return cache


async def kept(cache: InRedis, *put: Any) -> None:
    await cache.put(*put)
    await until(lambda: not cache._puts)


def cache_at(server: Server, key: bytes = b"subject", environment: str = "demo", **more: Any) -> InRedis:
    failures: list[str] = more.pop("failures", [])
    return InRedis(server.url, key, environment, failures.append, **{"budget": 2.0} | more)


def test_gateways_share_what_one_of_them_had_computed(server: Server, raw: redis.Redis) -> None:
    async def story() -> None:
        one, two = await up(cache_at(server)), await up(cache_at(server))
        assert await two.get(ONE, ROW) is None
        await kept(one, ONE, ROW, 0.1 + 0.2, 60)
        assert await two.get(ONE, ROW) == 0.1 + 0.2
        assert await two.get(OTHER, ROW) is None
        assert await two.get(ONE, ROW[:2]) is None
        await one.close()
        await two.close()

    asyncio.run(story())
    (name,) = raw.keys("*")
    assert 0 < raw.ttl(name) <= 60


def test_it_is_made_by_its_settings(server: Server, raw: redis.Redis) -> None:
    async def story() -> None:
        cache = opened(Settings(redis_url=server.url, environment="ward-7"), b"subject", print)
        assert isinstance(cache, InRedis)
        await kept(await up(cache), ONE, ROW, 0.5, 60)
        await cache.close()

    asyncio.run(story())
    (name,) = raw.keys("*")
    assert name.startswith(b"medtower:ward-7:inference:")


def test_redis_never_learns_the_row_nor_a_hash_that_somebody_could_try(
    server: Server, raw: redis.Redis
) -> None:
    async def story() -> None:
        cache = await up(cache_at(server))
        await kept(cache, ONE, ROW, 0.5, 60)
        await cache.close()

    asyncio.run(story())
    (name,) = raw.keys("*")
    everything = name + raw.get(name)
    assert ROW.tobytes() not in everything
    assert hashlib.sha256(ONE.encode() + ROW.tobytes()).hexdigest().encode() not in everything


def test_no_prediction_can_be_forged_by_writing_to_redis(server: Server, raw: redis.Redis) -> None:
    failures: list[str] = []

    async def story() -> None:
        cache = await up(cache_at(server, failures=failures))
        await kept(cache, ONE, ROW, 0.25, 60)
        (name,) = raw.keys("*")
        true = raw.get(name)
        await kept(cache, OTHER, ROW, 0.75, 60)
        (other,) = set(raw.keys("*")) - {name}
        flipped = bytes([true[0], true[1] ^ 1, *true[2:]])
        later = true[:8] + raw.get(other)[8:16] + true[16:]
        for forged in (
            raw.get(other),
            flipped,
            later,
            b"",
            b"0.99",
            true[:-1],
            true + b"x",
            true[:16] + bytes(32),
        ):
            raw.set(name, forged)
            assert await cache.get(ONE, ROW) is None
        assert failures == ["forged"] * 8
        raw.set(name, true)
        assert await cache.get(ONE, ROW) == 0.25
        await cache.close()

    asyncio.run(story())


def test_what_another_environment_or_another_key_wrote_does_not_count(
    server: Server, raw: redis.Redis
) -> None:
    failures: list[str] = []

    async def story() -> None:
        mine = await up(cache_at(server, failures=failures))
        strangers = [
            await up(cache_at(server, environment="staging")),
            await up(cache_at(server, key=b"stolen")),
        ]
        await kept(mine, ONE, ROW, 0.25, 60)
        (name,) = raw.keys("*")
        for stranger in strangers:
            assert await stranger.get(ONE, ROW) is None
            raw.delete(*raw.keys("*"))
            await kept(stranger, ONE, ROW, 0.99, 60)
            (theirs,) = raw.keys("*")
            raw.rename(theirs, name)
            assert await mine.get(ONE, ROW) is None
        assert failures == ["forged", "forged"]
        for cache in (mine, *strangers):
            await cache.close()

    asyncio.run(story())


def test_an_old_value_that_is_put_back_is_too_old(server: Server, raw: redis.Redis) -> None:
    async def story() -> None:
        cache = await up(cache_at(server))
        await kept(cache, ONE, ROW, 0.25, 1)
        (name,) = raw.keys("*")
        true = raw.get(name)
        raw.persist(name)
        assert await cache.get(ONE, ROW) == 0.25
        await until(lambda: cache._opened(name.decode(), true) is None)
        assert await cache.get(ONE, ROW) is None
        await cache.close()

    asyncio.run(story())


def test_redis_that_hangs_costs_twenty_milliseconds_once(server: Server, raw: redis.Redis) -> None:
    failures: list[str] = []

    async def story() -> None:
        cache = await up(cache_at(server, failures=failures, budget=0.02))
        server.process.send_signal(signal.SIGSTOP)
        try:
            start = time.perf_counter()
            assert await cache.get(ONE, ROW) is None
            first = time.perf_counter() - start
            start = time.perf_counter()
            for _ in range(100):
                assert await cache.get(ONE, ROW) is None
                await cache.put(ONE, ROW, 0.5, 60)
            rest = time.perf_counter() - start
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert 0.02 <= first < 1
        assert rest < 1  # 4 s if each of the 200 had waited its turn
        assert failures[0] == "timeout"
        await up(cache)
        await kept(cache, ONE, ROW, 0.5, 60)
        await cache.close()

    asyncio.run(story())


def test_redis_that_dies_is_a_miss_and_is_used_again_when_it_is_back(tmp_path: Path) -> None:
    failures: list[str] = []

    async def story() -> None:
        with redis_server(tmp_path) as server:
            cache = await up(cache_at(server, failures=failures))
            await kept(cache, ONE, ROW, 0.5, 60)
            assert await cache.get(ONE, ROW) == 0.5
        assert await cache.get(ONE, ROW) is None
        await cache.put(ONE, ROW, 0.5, 60)
        assert set(failures) == {"connection"}
        with redis_server(tmp_path, server.port):
            await up(cache)
            assert await cache.get(ONE, ROW) is None
            await kept(cache, ONE, ROW, 0.5, 60)
            assert await cache.get(ONE, ROW) == 0.5
            await cache.close()

    asyncio.run(story())


def test_redis_that_refuses_one_command_is_asked_the_next(server: Server, raw: redis.Redis) -> None:
    failures: list[str] = []

    async def story() -> None:
        cache = await up(cache_at(server, failures=failures))
        await kept(cache, ONE, ROW, 0.25, 60)
        (name,) = raw.keys("*")
        raw.delete(name)
        raw.lpush(name, "a list")
        assert await cache.get(ONE, ROW) is None
        assert failures == ["refused"]
        await kept(cache, ONE, ROW, 0.25, 60)
        assert await cache.get(ONE, ROW) == 0.25
        await cache.close()

    asyncio.run(story())


def test_a_wrong_password_is_a_miss_and_no_password_comes_into_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    failures: list[str] = []

    async def story() -> None:
        url = server.url.replace("Trillian-4712", "Zaphod-4711")
        cache = InRedis(url, b"subject", "demo", failures.append)
        assert await cache.get(ONE, ROW) is None
        await until(lambda: failures)
        assert await cache.get(ONE, ROW) is None
        await cache.close()

    asyncio.run(story())
    assert set(failures) == {"connection"}
    assert "Zaphod" not in caplog.text


def test_more_puts_than_redis_takes_are_shed(server: Server, raw: redis.Redis) -> None:
    failures: list[str] = []

    async def story() -> None:
        cache = await up(cache_at(server, failures=failures))
        for number in range(300):  # no turn of the event loop in between
            await cache.put(ONE, array("f", [number]), 0.5, 60)
        await until(lambda: not cache._puts)
        await cache.close()

    asyncio.run(story())
    assert failures == ["shed"] * 44
    assert len(raw.keys("*")) == 256
