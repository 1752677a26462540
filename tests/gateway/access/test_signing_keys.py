"""The identity provider's keys over HTTP: fetched beside the event loop, seldom, and kept while it is down, for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gateway.access.provider import (
    AUDIENCE,
    ISSUER,
    KeyServer,
    key_set,
    public,
    rsa_key,
    served,
    token,
)
from tests.gateway.server import wait_until

from medtower.domain.access import Caller
from medtower.errors import Unauthorized, Unavailable
from medtower.gateway.access.identify import Access, access_of
from medtower.gateway.access.signing_keys import KEPT_SECONDS, FetchedKeys, KeysOnTheirWay
from medtower.settings import Settings

NOW = 1e9


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with served(key_set(public("r1", rsa_key("r1")))) as state:
        yield state


@pytest.fixture
def keys(server: KeyServer) -> Iterator[FetchedKeys]:
    fetched = FetchedKeys(server.url)
    yield fetched
    server.hold.set()
    fetched.close()


def names(keys: FetchedKeys, now: float) -> set[str]:
    """The ids of the keys once what is being fetched at `now` has come."""
    try:
        keys.keys(now)
    except KeysOnTheirWay as coming:
        coming.fetch.result(10)
    if keys._running:
        keys._running.result(10)
    return set(keys.keys(now))


def test_asking_never_waits_for_the_provider(server: KeyServer, keys: FetchedKeys) -> None:
    server.hold.clear()
    start = time.perf_counter()
    with pytest.raises(KeysOnTheirWay) as coming:
        keys.keys(NOW)
    with pytest.raises(KeysOnTheirWay) as again:
        keys.keys(NOW)
    assert time.perf_counter() - start < 1
    assert again.value.fetch is coming.value.fetch
    server.hold.set()
    assert names(keys, NOW) == {"r1"}
    assert server.asked == 1


def test_an_unknown_key_is_looked_for_at_most_once_a_minute(server: KeyServer, keys: FetchedKeys) -> None:
    names(keys, NOW)
    assert keys.missing(NOW + 59) is None
    server.document = key_set(public("r2", rsa_key("r2")))
    fetch = keys.missing(NOW + 61)
    assert fetch is not None
    fetch.result(10)
    assert set(keys.keys(NOW + 61)) == {"r2"}
    assert [keys.missing(NOW + 62 + second) for second in range(59)] == [None] * 59
    assert server.asked == 2


def test_keys_are_renewed_every_ten_minutes_while_the_old_ones_count(
    server: KeyServer, keys: FetchedKeys
) -> None:
    names(keys, NOW)
    server.document = key_set(public("r2", rsa_key("r2")))
    server.hold.clear()
    assert set(keys.keys(NOW + 601)) == {"r1"}
    server.hold.set()
    wait_until(lambda: set(keys.keys(NOW + 601)) == {"r2"})


@pytest.mark.parametrize("fault", ["status", "empty", "html", "redirect", "huge", "no usable key"])
def test_a_provider_that_fails_changes_nothing_for_a_day(
    server: KeyServer, keys: FetchedKeys, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    names(keys, NOW)
    good = server.document
    if fault in ("status", "redirect"):
        server.status = 503 if fault == "status" else 302
        server.headers = {"Location": server.url + "/elsewhere"}
    server.document = {
        "empty": b"",
        "html": b"<html>Zaphod-4711</html>",
        "huge": b" " * 1_000_000 + good,
        "no usable key": key_set({"kty": "oct", "kid": "r1", "k": "AA"}),
    }.get(fault, good)
    assert names(keys, NOW + 700) == {"r1"}
    assert server.asked == 2
    assert "cannot be fetched" in caplog.text
    assert "Zaphod" not in caplog.text
    assert names(keys, NOW + KEPT_SECONDS - 1) == {"r1"}
    with pytest.raises(Unavailable):
        names(keys, NOW + KEPT_SECONDS + 100)
    server.status, server.document = 200, good
    assert names(keys, NOW + KEPT_SECONDS + 200) == {"r1"}


def test_a_provider_that_is_not_there_is_an_error_of_ours_and_not_of_the_caller(server: KeyServer) -> None:
    nobody = FetchedKeys("http://127.0.0.1:1/jwks")
    with pytest.raises(Unavailable, match="could not be fetched"):
        names(nobody, NOW)
    nobody.close()


@pytest.fixture
def door(server: KeyServer, tmp_path: Path) -> Iterator[Access]:
    settings = Settings(
        home=tmp_path,
        subject_key="key-of-the-pseudonyms",
        oidc_issuer=ISSUER,
        oidc_audience=AUDIENCE,
        oidc_jwks=server.url,
    )
    access = access_of(settings)
    yield access
    server.hold.set()
    access.close()


def admit(door: Access, presented: str, now: float) -> Caller:
    headers = [(b"authorization", f"Bearer {presented}".encode())]
    return asyncio.run(door.admit(headers, "192.0.2.7", now))


def test_the_first_token_waits_a_moment_for_the_keys_and_the_event_loop_does_not(
    door: Access, server: KeyServer
) -> None:
    server.hold.clear()
    ticks = 0

    async def others() -> None:
        nonlocal ticks
        while not server.hold.is_set():
            ticks += 1
            if ticks == 50:
                server.hold.set()
            await asyncio.sleep(0)

    async def both() -> Caller:
        headers = [(b"authorization", f"Bearer {token()}".encode())]
        caller, _ = await asyncio.gather(door.admit(headers, "192.0.2.7", time.time()), others())
        return caller

    assert asyncio.run(both()).id.startswith("oidc:")
    assert ticks == 50


def test_a_token_of_a_new_key_counts_at_once_when_the_last_look_was_long_ago(
    door: Access, server: KeyServer
) -> None:
    now = time.time()
    assert admit(door, token(), now - 120).id
    server.document = key_set(public("r1", rsa_key("r1")), public("r2", rsa_key("r2")))
    assert admit(door, token(rsa_key("r2"), "r2"), now).id
    assert server.asked == 2


def test_a_flood_of_unknown_keys_is_one_question_to_the_provider(door: Access, server: KeyServer) -> None:
    now = time.time()
    admit(door, token(), now - 120)
    for n in range(50):
        with pytest.raises(Unauthorized):
            admit(door, token(rsa_key("attacker"), f"k{n}"), now)
    assert server.asked == 2


def test_while_the_provider_hangs_a_caller_is_told_to_come_again(
    door: Access, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medtower.gateway.access.identify.PATIENCE_SECONDS", 0.01)
    server.hold.clear()
    with pytest.raises(Unavailable, match="being fetched"):
        admit(door, token(), time.time())
