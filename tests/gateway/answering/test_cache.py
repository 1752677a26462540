from __future__ import annotations

import asyncio
import hashlib
import math
import struct
from array import array

import pytest
from tests.gateway.conftest import FEATURES, RISK, Gateway, publish

from medtower.domain.contract import Contract
from medtower.domain.routing import Arm, Route, Shadow
from medtower.errors import Refused
from medtower.gateway.answering.cache import InProcess, key_of, lifetime, opened
from medtower.settings import Settings

ONE, OTHER = "a" * 64, "b" * 64
CACHED = Contract.model_validate(RISK | {"cache_seconds": 60})


def row(*numbers: float) -> array[float]:
    return array("f", numbers)


def arm(name: str = "current", weight: float = 100, contract: Contract = CACHED) -> Arm:
    version, digest = (1, ONE) if name == "current" else (2, OTHER)
    return Arm.model_validate(
        {"name": name, "version": version, "digest": digest, "weight": weight, "contract": contract}
    )


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_key_is_the_sha256_of_digest_and_row() -> None:
    little_endian = bytes.fromhex("0000803f 00000040")
    assert key_of(ONE, row(1, 2)) == hashlib.sha256(b"a" * 64 + little_endian).digest()


def test_every_missing_value_is_the_same_to_the_key() -> None:
    other_nan = array("f")
    other_nan.frombytes(struct.pack("=I", 0xFFC12345))
    assert math.isnan(other_nan[0])
    assert other_nan.tobytes() != row(math.nan).tobytes()
    assert key_of(ONE, row(1, math.nan)) == key_of(ONE, row(1) + other_nan)
    assert key_of(ONE, row(1, math.nan)) != key_of(ONE, row(math.nan, 1))


def test_another_release_or_another_number_has_another_key() -> None:
    keys = {
        key_of(ONE, row(1, 2)), key_of(OTHER, row(1, 2)), key_of(ONE, row(2, 1)), key_of(ONE, row(1)),
        key_of(ONE, row(1, 2.0000002)), key_of(ONE, row(math.inf, -math.inf)), key_of(ONE, row(-math.inf, math.inf)),
    }  # fmt: skip
    assert len(keys) == 7


def test_what_was_put_is_there_until_its_time_is_over() -> None:
    async def story() -> None:
        clock = Clock()
        cache = InProcess(10, clock=clock)
        assert await cache.get(ONE, row(1, math.nan)) is None
        await cache.put(ONE, row(1, math.nan), 0.75, 60)
        clock.now += 59.9
        assert await cache.get(ONE, row(1, math.nan)) == 0.75
        assert await cache.get(OTHER, row(1, math.nan)) is None
        clock.now += 0.1
        assert await cache.get(ONE, row(1, math.nan)) is None
        await cache.put(ONE, row(2), 0.5, 60)
        await cache.close()
        assert await cache.get(ONE, row(2)) is None

    asyncio.run(story())


def test_the_one_that_was_not_asked_for_the_longest_makes_room() -> None:
    async def story() -> None:
        cache = InProcess(2)
        await cache.put(ONE, row(1), 0.1, 60)
        await cache.put(ONE, row(2), 0.2, 60)
        assert await cache.get(ONE, row(1)) == 0.1
        await cache.put(ONE, row(3), 0.3, 60)
        assert [await cache.get(ONE, row(n)) for n in (1, 2, 3)] == [0.1, None, 0.3]
        await cache.put(ONE, row(1), 0.4, 60)
        await cache.put(ONE, row(4), 0.5, 60)
        assert [await cache.get(ONE, row(n)) for n in (1, 3, 4)] == [0.4, None, 0.5]

    asyncio.run(story())


def test_a_contract_that_says_nothing_is_never_cached() -> None:
    plain = arm(contract=Contract.model_validate(RISK))
    assert lifetime(Route(model="demo_risk", arms=[plain]), plain) == 0
    assert lifetime(Route(model="demo_risk", arms=[arm()]), arm()) == 60


def test_nothing_is_cached_while_versions_are_compared() -> None:
    current, candidate = arm(weight=95), arm("candidate", weight=5)
    rollout = Route(model="demo_risk", arms=[current, candidate])
    shadowed = Route(model="demo_risk", arms=[arm()], shadow=Shadow(version=2, digest=OTHER, contract=CACHED))
    assert [lifetime(rollout, current), lifetime(rollout, candidate), lifetime(None, candidate)] == [0, 0, 0]
    assert lifetime(shadowed, arm()) == 0


def test_what_may_be_an_emergency_is_never_cached() -> None:
    emergency = {"emergency": {"at_or_above": 0.8, "webhook": "crisis"}}
    with pytest.raises(ValueError, match="never cached"):
        Contract.model_validate(RISK | emergency | {"cache_seconds": 60})
    both = Contract.model_validate(RISK | emergency).model_copy(update={"cache_seconds": 60})
    unchecked = Arm.model_construct(name="current", version=1, digest=ONE, weight=100, contract=both)
    assert lifetime(Route.model_construct(model="demo_risk", arms=[unchecked]), unchecked) == 0


def test_a_row_that_was_computed_before_is_answered_from_the_cache_marked_and_recorded(
    gateway: Gateway,
) -> None:
    publish(gateway.settings, {"demo_risk": CACHED}, demo_risk={1: 100}, demo_score={2: 100})
    answers = [gateway.ask(request_id=f"r{n}", subject_id=f"s{n}").json() for n in range(3)]
    other = gateway.ask(features=FEATURES | {"age": 71}).json()
    plain = [gateway.ask("demo_score").json() for _ in range(2)]
    assert gateway.triton.asked == [1, 1, 2, 2]
    assert [each["cached"] for each in [*answers, other, *plain]] == [False, True, True, False, False, False]
    assert len({each["prediction"] for each in answers}) == 1
    assert len({each["request_id"] for each in answers}) == 3
    recorded = gateway.recorded()
    assert [each.cached for each in recorded] == [False, True, True, False, False, False]
    assert recorded[1].latency_ms == 0 < recorded[0].latency_ms
    assert gateway.metric('medtower_cache_lookups_total{model="demo_risk",result="hit"}') == 2
    assert gateway.metric('medtower_cache_lookups_total{model="demo_risk",result="miss"}') == 2


def test_what_the_cache_knows_is_not_used_while_versions_are_compared(gateway: Gateway) -> None:
    both = {1: CACHED, 2: CACHED}
    publish(gateway.settings, {"demo_risk": CACHED}, demo_risk={1: 100})
    gateway.ask()
    publish(gateway.settings, {"demo_risk": CACHED}, both, demo_risk={1: 50, 2: 50})
    assert [gateway.ask(subject_id=f"s{n}").json()["cached"] for n in range(10)] == [False] * 10
    assert len(gateway.triton.asked) == 11
    publish(gateway.settings, {"demo_risk": CACHED}, demo_risk={1: 100})
    assert gateway.ask().json()["cached"] is True


@pytest.mark.parametrize("seconds", [-1, 86_401])
def test_a_contract_cannot_ask_for_more_than_a_day(seconds: int) -> None:
    with pytest.raises(ValueError, match="cache_seconds"):
        Contract.model_validate(RISK | {"cache_seconds": seconds})


def test_without_redis_the_cache_is_in_the_process() -> None:
    assert isinstance(opened(Settings(), b"key", print), InProcess)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:Trillian-4712@192.0.2.7:6379/0",
        "redis://:Trillian-4712@cache.example.org/0",
        "rediss://:Trillian-4712@cache.example.org/0?ssl_cert_reqs=none",
        "rediss://:Trillian-4712@",
        "redis:///0?host=cache.example.org&password=Trillian-4712",
        "redis://[:Trillian-4712",
        "http://:Trillian-4712@127.0.0.1",
    ],
)
def test_a_redis_over_the_network_without_verified_tls_is_refused_and_its_password_not_told(url: str) -> None:
    with pytest.raises(Refused, match="MEDTOWER_REDIS_URL") as refused:
        opened(Settings(redis_url=url), b"key", print)
    assert "Trillian" not in str(refused.value)
