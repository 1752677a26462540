"""API keys: what counts, from when and until when, and what never does."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from medtower.adapters import api_keys
from medtower.domain.access import ACTIONS, MAY
from medtower.domain.api_key import ApiKey, HashedSecret
from medtower.errors import Forbidden, NotFound, RateLimited, Unauthorized, Unavailable
from medtower.gateway.access.identify import ATTEMPTS, Access
from medtower.gateway.access.keys import Keys, Limit

PEER = "192.0.2.7"
NOW = time.time()
MOMENT = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.json"


def added(path: Path, identity: str = "ward-3", **more: Any) -> str:
    secret = api_keys.new_secret(identity)
    hashed = HashedSecret(sha256=api_keys.digest(secret))
    fields: dict[str, Any] = {"role": "clinician", "created": MOMENT, "secrets": (hashed,)}
    api_keys.add(path, ApiKey(id=identity, **(fields | more)))
    return secret


def access(path: Path, *, rate: float = 1000, burst: float = 1000) -> Access:
    return Access(Keys(path, Limit(rate, burst)))


def headers(secret: str | bytes) -> list[tuple[bytes, bytes]]:
    value = secret if isinstance(secret, bytes) else secret.encode()
    return [(b"host", b"x"), (b"x-api-key", value)]


def refused(door: Access, given: Any, *, now: float = NOW, peer: str = PEER) -> bool:
    try:
        door.identify(given, peer, now)
    except Unauthorized:
        return True
    return False


def test_a_key_is_known_by_its_id_and_may_what_its_role_may(path: Path) -> None:
    secret = added(path, models=("als_risk",))
    caller = access(path).identify(headers(secret), PEER, NOW)
    assert (caller.id, caller.actions, caller.models) == ("ward-3", MAY["clinician"], {"als_risk"})


def test_a_key_counts_as_a_bearer_token_and_in_the_metadata_of_grpc_too(path: Path) -> None:
    secret, door = added(path), access(path)
    for given in (
        [(b"authorization", b"Bearer " + secret.encode())],
        [(b"authorization", b"bearer  " + secret.encode())],
        (("user-agent", "grpc"), ("x-api-key", secret)),
        (("authorization", f"Bearer {secret}"),),
        {b"x-api-key": secret.encode()},
    ):
        assert door.identify(given, PEER, NOW).id == "ward-3"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        [],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"mt_ward-3_" + b"0" * 64)],
        [(b"x-api-key", b"\xff\xfe\x00")],
        [(b"x-api-key", "mt_ward-3_é".encode())],
        [(b"x-api-key", b"k" * 100_000)],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic dXNlcjpwYXNz")],
        [(b"authorization", b"Bearer " + b"a." * 50_000)],
        [(b"authorization", b"Bearer a.b.c")],
        [(b"authorization", b"Bearer ..")],
        (("x-api-key", "\ud800"),),
        (("x-api-key-bin", b"\x00"),),
    ],
)
def test_what_is_no_login_is_told_nothing_but_that(path: Path, given: Any) -> None:
    added(path)
    with pytest.raises(Unauthorized, match="no login, or one that does not count"):
        access(path).identify(given, PEER, NOW)


def test_of_two_logins_none_counts(path: Path) -> None:
    secret, door = added(path).encode(), access(path)
    assert refused(door, [(b"x-api-key", secret), (b"x-api-key", secret)])
    assert refused(door, [(b"x-api-key", secret), (b"authorization", b"Bearer " + secret)])
    assert refused(door, [(b"x-api-key", b"wrong"), (b"x-api-key", secret)])


def test_a_key_with_anything_before_or_after_it_is_none(path: Path) -> None:
    secret, door = added(path), access(path)
    assert not refused(door, headers(secret))  # and it is remembered by now
    for changed in (secret[:-1], secret + "0", secret.upper(), f" {secret}", f"{secret}\0", secret[3:]):
        assert refused(door, headers(changed))


def test_the_file_holds_no_secret(path: Path) -> None:
    secret = added(path)
    assert secret not in path.read_text()
    assert secret.rsplit("_", 1)[1] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_revoked_key_counts_no_more_though_it_was_just_used(path: Path) -> None:
    secret, door = added(path), access(path)
    assert door.identify(headers(secret), PEER, NOW).id == "ward-3"
    api_keys.change(path, "ward-3", lambda key: key.taken_back(MOMENT))
    assert refused(door, headers(secret))


def test_a_key_ends_at_its_time_though_it_was_just_used(path: Path) -> None:
    secret, door = added(path, expires=MOMENT + timedelta(seconds=60)), access(path)
    assert not refused(door, headers(secret), now=NOW + 59)
    assert refused(door, headers(secret), now=NOW + 61)


def test_a_rotated_secret_counts_for_the_time_of_grace_and_the_new_one_after_it(path: Path) -> None:
    old, door, new = added(path), access(path), api_keys.new_secret("ward-3")
    assert not refused(door, headers(old))
    hour = timedelta(hours=1)
    api_keys.change(path, "ward-3", lambda k: k.rotated(api_keys.digest(new), grace=hour, now=MOMENT))
    for now, of_old in ((NOW + 3599, False), (NOW + 3601, True)):
        assert refused(door, headers(old), now=now) is of_old
        assert door.identify(headers(new), PEER, now).id == "ward-3"


def test_a_second_rotation_does_not_lengthen_the_grace_of_the_first(path: Path) -> None:
    first, door = added(path), access(path)
    hour, second, third = timedelta(hours=1), api_keys.new_secret("ward-3"), api_keys.new_secret("ward-3")
    api_keys.change(path, "ward-3", lambda k: k.rotated(api_keys.digest(second), grace=hour, now=MOMENT))
    later = MOMENT + timedelta(minutes=30)
    api_keys.change(path, "ward-3", lambda k: k.rotated(api_keys.digest(third), grace=hour, now=later))
    assert refused(door, headers(first), now=NOW + 3601)
    assert not refused(door, headers(second), now=NOW + 3601)
    assert refused(door, headers(second), now=NOW + 5401)


def test_without_grace_the_old_secret_is_over_at_once(path: Path) -> None:
    old, door, new = added(path), access(path), api_keys.new_secret("ward-3")
    api_keys.change(path, "ward-3", lambda k: k.rotated(api_keys.digest(new), grace=timedelta(0), now=MOMENT))
    assert refused(door, headers(old))
    assert not refused(door, headers(new))


def test_without_a_file_nobody_has_a_key_until_there_is_one(path: Path) -> None:
    door = access(path)
    assert refused(door, headers("mt_ward-3_0"))
    secret = added(path)
    assert door.identify(headers(secret), PEER, NOW).id == "ward-3"
    path.unlink()
    assert refused(door, headers(secret))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o660, 0o620])
def test_a_file_that_is_open_to_others_lets_nobody_in(
    path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    secret, door = added(path), access(path)
    assert not refused(door, headers(secret))
    path.chmod(mode)
    with pytest.raises(Unavailable, match="see the gateway's log"):
        door.identify(headers(secret), PEER, NOW)
    assert "chmod 600" in caplog.records[-1].reason  # type: ignore[attr-defined]
    path.chmod(0o600)
    assert not refused(door, headers(secret))


def test_a_pod_reads_its_secret_by_its_group(path: Path) -> None:
    secret = added(path)
    path.chmod(0o440)
    assert not refused(access(path), headers(secret))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_lets_nobody_in(path: Path) -> None:
    secret = added(path)
    os.chown(path, 12345, -1)
    with pytest.raises(Unavailable):
        access(path).identify(headers(secret), PEER, NOW)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}x",
        b"[]",
        b'{"schema": "medtower/access/v2"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"keys": [{"id": "x"}]}',
    ],
)
def test_a_file_that_is_none_lets_nobody_in_and_is_not_repeated(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    secret, door = added(path), access(path)
    path.write_bytes(content)
    with pytest.raises(Unavailable):
        door.identify(headers(secret), PEER, NOW)
    reason = caplog.records[-1].reason  # type: ignore[attr-defined]
    assert "is not a file of API keys" in reason
    assert '"x"' not in reason


def test_a_folder_in_place_of_the_file_lets_nobody_in(path: Path) -> None:
    path.mkdir()
    with pytest.raises(Unavailable):
        access(path).identify(headers("mt_x_0"), PEER, NOW)


def test_the_role_of_one_key_is_not_that_of_another(path: Path) -> None:
    doctor, auditor, door = added(path), added(path, "board", role="auditor"), access(path)
    for _ in range(2):  # also when both are remembered
        door.identify(headers(doctor), PEER, NOW).must("predict")
        caller = door.identify(headers(auditor), PEER, NOW)
        with pytest.raises(Forbidden, match="'predict'"):
            caller.must("predict")


def test_a_model_out_of_scope_is_one_that_does_not_exist(path: Path) -> None:
    caller = access(path).identify(headers(added(path, models=("als_risk",))), PEER, NOW)
    caller.must("predict", "als_risk")
    with pytest.raises(NotFound) as scoped:
        caller.must("predict", "sepsis")
    with pytest.raises(NotFound) as unknown:
        caller.must("predict", "no_such_model")
    assert str(scoped.value) == str(unknown.value)


def test_who_may_see_some_models_may_not_see_the_metrics_which_name_all(path: Path) -> None:
    some = access(path).identify(headers(added(path, role="auditor", models=("als_risk",))), PEER, NOW)
    with pytest.raises(Forbidden):
        some.must("operate")


def test_every_action_is_somebodys_and_an_administrator_may_all() -> None:
    assert MAY["admin"] == ACTIONS
    assert frozenset().union(*(MAY[role] for role in ("clinician", "service", "auditor"))) == ACTIONS
    assert not MAY["auditor"] & {"predict", "outcome", "batch"}  # who audits changes nothing


def test_who_asks_too_much_is_told_when_to_come_back_and_others_are_not_held_up(path: Path) -> None:
    greedy, other = added(path, rate=2, burst=3), added(path, "other")
    door = access(path)
    for _ in range(3):
        door.identify(headers(greedy), PEER, NOW)
    with pytest.raises(RateLimited) as refusal:
        door.identify(headers(greedy), PEER, NOW)
    assert refusal.value.seconds == pytest.approx(0.5)
    assert door.identify(headers(other), PEER, NOW).id == "other"
    assert door.identify(headers(greedy), PEER, NOW + 0.51).id == "ward-3"


def test_a_rotated_key_has_one_allowance_and_not_two(path: Path) -> None:
    old, new = added(path, rate=1, burst=2), api_keys.new_secret("ward-3")
    hour = timedelta(hours=1)
    api_keys.change(path, "ward-3", lambda k: k.rotated(api_keys.digest(new), grace=hour, now=MOMENT))
    door = access(path)
    door.identify(headers(old), PEER, NOW)
    door.identify(headers(new), PEER, NOW)
    with pytest.raises(RateLimited):
        door.identify(headers(old), PEER, NOW)


def test_an_address_that_only_guesses_is_slowed_down_and_locks_nobody_out(path: Path) -> None:
    secret, door = added(path), access(path)
    for _ in range(int(ATTEMPTS.burst)):
        assert refused(door, headers("wrong"))
    with pytest.raises(RateLimited) as refusal:
        door.identify(headers("wrong"), PEER, NOW)
    assert 0 < refusal.value.seconds <= 1
    assert refused(door, headers("wrong"), peer="192.0.2.8")
    assert door.identify(headers(secret), PEER, NOW).id == "ward-3"  # behind the same address
