"""Bearer tokens of an identity provider: which count, which never do, and what is known of whoever holds one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from tests.gateway.access.provider import (
    AUDIENCE,
    ISSUER,
    claims,
    ec_key,
    key_set,
    public,
    rsa_key,
    token,
)

from medtower.domain.access import MAY, Caller
from medtower.errors import Forbidden, MedtowerError, RateLimited, Refused, Unauthorized, Unavailable
from medtower.gateway.access.identify import ATTEMPTS, Access, access_of
from medtower.gateway.access.provider import provider_of
from medtower.settings import Settings

PEER = "192.0.2.7"


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(public("r1", rsa_key("r1")), public("e1", ec_key("e1"))))
    return path


@pytest.fixture
def settings(tmp_path: Path, jwks: Path) -> Settings:
    return Settings(
        home=tmp_path,
        subject_key="key-of-the-pseudonyms",
        oidc_issuer=ISSUER,
        oidc_audience=AUDIENCE,
        oidc_jwks=str(jwks),
    )


@pytest.fixture
def door(settings: Settings) -> Access:
    return access_of(settings)


def ask(door: Access, presented: str | bytes, *, now: float | None = None) -> Caller:
    raw = presented if isinstance(presented, bytes) else presented.encode()
    return door.identify([(b"authorization", b"Bearer " + raw)], PEER, now or time.time())


def test_a_token_of_either_algorithm_counts_and_its_role_is_what_the_claim_says(door: Access) -> None:
    assert ask(door, token()).actions == MAY["clinician"]
    assert ask(door, token(ec_key("e1"), "e1", "ES256", role="auditor")).actions == MAY["auditor"]


def test_a_person_is_known_by_a_keyed_pseudonym_and_by_nothing_else(settings: Settings, door: Access) -> None:
    caller = ask(door, token())
    assert caller.id.startswith("oidc:")
    assert len(caller.id) == 37
    assert "aphod" not in repr(caller)
    assert "person-1" not in repr(caller)
    assert ask(door, token(name="another", email="x@example.org")).id == caller.id
    assert ask(door, token(sub="person-2")).id != caller.id
    plain = hashlib.sha256(f"{ISSUER}\0person-1".encode()).hexdigest()
    assert caller.id[5:] not in plain
    elsewhere = access_of(settings.model_copy(update={"subject_key": type(settings.subject_key)("other")}))
    assert ask(elsewhere, token()).id != caller.id


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def handmade(header: Any, body: Any, sign: Callable[[bytes], bytes] = lambda _: b"") -> str:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    text = f"{b64(head)}.{b64(json.dumps(body).encode())}"
    return f"{text}.{b64(sign(text.encode()))}"


def pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


def signed_with_the_public_key(key: bytes) -> str:
    """The old confusion: a server that takes HS256 checks it with what everybody knows."""
    header = {"alg": "HS256", "kid": "r1", "typ": "JWT"}
    return handmade(header, claims(role="admin"), lambda text: hmac.digest(key, text, "sha256"))


def own_key_inside() -> str:
    mine = rsa_key("attacker")
    jwk = public("r1", mine)
    extra = {"kid": "r1", "jwk": jwk, "jku": "http://127.0.0.1:1/jwks", "x5u": "http://127.0.0.1:1/x"}
    return jwt.encode(claims(role="admin"), mine, algorithm="RS256", headers=extra)


def tampered() -> str:
    head, _, signature = token().split(".")
    return f"{head}.{b64(json.dumps(claims(role='admin')).encode())}.{signature}"


NOW = int(time.time())
NOT_ONES: dict[str, Callable[[], str | bytes]] = {
    "none": lambda: handmade({"alg": "none", "kid": "r1"}, claims(role="admin")),
    "None": lambda: handmade({"alg": "nOnE", "kid": "r1"}, claims(role="admin")),
    "no algorithm": lambda: handmade({"kid": "r1"}, claims(role="admin")),
    "an algorithm that is no text": lambda: handmade({"alg": ["RS256"], "kid": "r1"}, claims()),
    "HS256 with the public key": lambda: signed_with_the_public_key(pem(rsa_key("r1"))),
    "HS256 with its modulus": lambda: signed_with_the_public_key(public("r1", rsa_key("r1"))["n"].encode()),
    "HS256 with nothing": lambda: signed_with_the_public_key(b""),
    "RS512": lambda: token(algorithm="RS512"),
    "PS256": lambda: token(algorithm="PS256"),
    "RS256 said of an EC key": lambda: token(kid="e1"),
    "ES256 said of an RSA key": lambda: token(ec_key("e1"), "r1", "ES256"),
    "another's key": lambda: token(rsa_key("attacker")),
    "a key of its own inside": own_key_inside,
    "tampered": tampered,
    "no signature": lambda: token().rsplit(".", 1)[0] + ".",
    "no kid": lambda: token(kid=None),
    "an unknown kid": lambda: token(kid="r2"),
    "a path as kid": lambda: token(kid="../../../../dev/null"),
    "a kid of SQL": lambda: token(kid="r1' or '1'='1"),
    "a kid that is no text": lambda: handmade({"alg": "RS256", "kid": {"r1": 1}}, claims()),
    "an unknown critical header": lambda: jwt.encode(
        claims(), rsa_key("r1"), algorithm="RS256", headers={"kid": "r1", "crit": ["x"], "x": 1}
    ),
    "expired": lambda: token(exp=NOW - 60),
    "no end": lambda: token(exp=None),
    "an end that is no number": lambda: token(exp="tomorrow"),
    "not yet": lambda: token(nbf=NOW + 86_400),
    "another issuer": lambda: token(iss="https://login.example.com/realm"),
    "an issuer with a slash more": lambda: token(iss=f"{ISSUER}/"),
    "no issuer": lambda: token(iss=None),
    "another audience": lambda: token(aud="billing"),
    "no audience": lambda: token(aud=None),
    "an audience that begins like ours": lambda: token(aud="medtower-test"),
    "nobody": lambda: token(sub=None),
    "an empty subject": lambda: token(sub=""),
    "claims that are a list": lambda: handmade({"alg": "RS256", "kid": "r1"}, [1]),
    "a header that is a list": lambda: handmade([], claims()),
    "a deep header": lambda: handmade(b"[" * 5000, {}),
    "bytes": lambda: b"\xff.\xfe.\x00",
    "huge": lambda: token(padding="x" * 10_000),
}


@pytest.mark.parametrize("make", NOT_ONES.values(), ids=NOT_ONES.keys())
def test_a_token_that_does_not_count_is_told_nothing_but_that(
    door: Access, make: Callable[[], str | bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unauthorized, match="no login, or one that does not count"):
        ask(door, make())
    assert "aphod" not in caplog.text


def test_a_little_difference_between_clocks_is_forgiven(door: Access) -> None:
    now = int(time.time())
    assert ask(door, token(exp=now - 10, nbf=now - 600)).id
    assert ask(door, token(nbf=now + 10)).id


def test_a_token_ends_at_its_time_though_it_was_just_used(door: Access) -> None:
    presented = token()
    assert ask(door, presented) is ask(door, presented)  # remembered
    assert door._tokens is not None
    assert door._tokens.known(presented.encode(), time.time() + 629) is not None
    assert door._tokens.known(presented.encode(), time.time() + 631) is None


def test_a_key_that_the_provider_takes_back_ends_its_tokens_though_they_were_just_used(
    door: Access, jwks: Path
) -> None:
    presented = token()
    assert ask(door, presented).id
    jwks.write_bytes(key_set(public("e1", ec_key("e1"))))
    with pytest.raises(Unauthorized):
        ask(door, presented)


def test_keys_that_cannot_be_read_let_nobody_in(door: Access, jwks: Path) -> None:
    presented = token()
    assert ask(door, presented).id
    for content in (b"", b"{}", key_set(), b"[" * 100_000):
        jwks.write_bytes(content)
        with pytest.raises(Unavailable):
            ask(door, presented)
    jwks.unlink()
    with pytest.raises(Unavailable):
        ask(door, presented)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: {"kty": "oct", "kid": "h1", "k": b64(b"0" * 32)},
        lambda: {"kty": "oct", "kid": "h1", "k": b64(b"0" * 32), "alg": "RS256"},
        lambda: public("h1", rsa_key("short", 1024)),
        lambda: public("h1", rsa_key("r1"), use="enc"),
        lambda: public("h1", rsa_key("r1"), alg="RS512"),
        lambda: public("h1", rsa_key("r1"), alg="HS256"),
        lambda: public("h1", ec_key("e1"), crv="P-384"),
        lambda: public("h1", rsa_key("r1"), n="!"),
        lambda: public("h1", rsa_key("r1"), d="AQAB"),
        lambda: public("h1", rsa_key("r1")) | {"kid": 7},
        lambda: {},
        lambda: "h1",
    ],
)
def test_a_key_that_cannot_verify_our_algorithms_is_none_and_the_others_count(
    door: Access, jwks: Path, bad: Callable[[], Any]
) -> None:
    jwks.write_bytes(key_set(bad(), public("r1", rsa_key("r1"))))
    assert ask(door, token()).id
    assert door._tokens is not None
    assert set(door._tokens._signing.keys(0)) == {"r1"}


def test_who_has_no_role_of_ours_may_log_in_and_do_nothing(door: Access) -> None:
    for role in (None, "root", "Admin", ["ADMIN", "nurse"], {"admin": True}, 7, [["admin"]]):
        caller = ask(door, token(role=role))
        assert caller.actions == frozenset()
        with pytest.raises(Forbidden):
            caller.must("models")


def test_who_has_two_roles_may_what_either_may(door: Access) -> None:
    assert ask(door, token(role=["clinician", "auditor"])).actions == MAY["clinician"] | MAY["auditor"]


def test_the_roles_of_the_provider_are_translated_and_ours_do_not_pass_beside(settings: Settings) -> None:
    named = settings.model_copy(
        update={"oidc_role_claim": "realm_access.roles", "oidc_roles": {"physicians": "clinician"}}
    )
    door = access_of(named)
    assert ask(door, token(realm_access={"roles": ["staff", "physicians"]})).actions == MAY["clinician"]
    assert ask(door, token(realm_access={"roles": ["admin"]})).actions == frozenset()
    assert ask(door, token(realm_access="physicians")).actions == frozenset()


def test_a_claim_whose_name_has_dots_is_that_claim(settings: Settings) -> None:
    door = access_of(settings.model_copy(update={"oidc_role_claim": "https://example.org/role"}))
    assert ask(door, token(**{"https://example.org/role": "service"})).actions == MAY["service"]


def test_models_come_from_their_claim_and_without_it_there_are_none(settings: Settings, door: Access) -> None:
    assert ask(door, token()).models is None
    scoped = access_of(settings.model_copy(update={"oidc_models_claim": "models"}))
    assert ask(scoped, token(models=["als_risk", 7])).models == {"als_risk"}
    assert ask(scoped, token()).models == frozenset()


def test_a_token_counts_in_no_other_header(door: Access) -> None:
    with pytest.raises(Unauthorized):
        door.identify([(b"x-api-key", b"Bearer " + token().encode())], PEER, time.time())
    with pytest.raises(Unauthorized):
        door.identify([(b"cookie", b"token=" + token().encode())], PEER, time.time())


def test_an_address_that_sends_bad_tokens_has_no_more_of_them_checked(
    door: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad, now = token(), token(rsa_key("attacker")), time.time()
    assert ask(door, good, now=now).id
    for _ in range(int(ATTEMPTS.burst)):
        with pytest.raises(Unauthorized):
            ask(door, bad, now=now)
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("it was checked"))
    with pytest.raises(RateLimited):
        ask(door, bad, now=now)
    assert ask(door, good, now=now).id  # who is known is not held up


def test_without_a_provider_no_token_counts(tmp_path: Path) -> None:
    with pytest.raises(Unauthorized):
        ask(access_of(Settings(home=tmp_path, subject_key="x")), token())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"oidc_issuer": ""}, "MEDTOWER_OIDC_ISSUER is empty"),
        ({"oidc_audience": ""}, "MEDTOWER_OIDC_AUDIENCE is empty"),
        ({"oidc_jwks": ""}, "MEDTOWER_OIDC_JWKS is empty"),
        ({"oidc_jwks": "http://login.example.org/jwks"}, "must be https"),
        ({"oidc_jwks": "http://127.0.0.1.example.org/jwks"}, "must be https"),
        ({"oidc_jwks": "http://localhost@login.example.org/jwks"}, "password"),
        ({"oidc_jwks": "ftp://127.0.0.1/jwks"}, "must be https"),
        ({"oidc_jwks": "file:///etc/passwd"}, "must be https"),
        ({"oidc_jwks": "https://user" + ":word@login.example.org/jwks"}, "password"),
    ],
)
def test_a_provider_that_could_not_be_trusted_is_refused_at_the_start(
    settings: Settings, changes: dict[str, str], told: str
) -> None:
    with pytest.raises(Refused, match=told) as refusal:
        provider_of(settings.model_copy(update=changes))
    assert "word@" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["https://login.example.org/jwks", "http://127.0.0.1:9/j", "http://[::1]:9/j", "http://localhost/j"],
)
def test_https_and_loopback_are_taken(settings: Settings, url: str) -> None:
    found = provider_of(settings.model_copy(update={"oidc_jwks": url}))
    assert found is not None
    assert found.keys == url


def test_half_a_provider_keeps_the_gateway_from_starting(settings: Settings) -> None:
    with pytest.raises(MedtowerError, match="oidc"):
        access_of(settings.model_copy(update={"oidc_audience": ""}))
