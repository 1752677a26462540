"""Bearer tokens of an OpenID Connect provider: signed JWTs (RFC 7519, 8725), verified once and remembered until they end."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from medtower.domain.access import CALLER_ROLES, Caller, CallerRole, actions_of
from medtower.gateway.access.keys import Grant, Limit
from medtower.gateway.access.provider import Provider, provider_of
from medtower.gateway.access.signing_keys import (
    ALGORITHMS,
    FetchedKeys,
    Keyring,
    KeysInFile,
    KeysOnTheirWay,
    SigningKeys,
)
from medtower.serving.pseudonym import pseudonym
from medtower.settings import Settings

log = logging.getLogger(__name__)
LONGEST = 8192
LEEWAY_SECONDS = 30
REMEMBERED = 4096
REQUIRED = ["exp", "iss", "aud", "sub"]


def is_token(presented: bytes) -> bool:
    """Whether it has the form of a signed JWT: three parts. No key of ours has a dot."""
    return presented.count(b".") == 2


class Tokens:
    """The tokens of one provider. A person is known by a keyed pseudonym of issuer and subject, never by name or address."""

    def __init__(self, provider: Provider, signing: SigningKeys, subject_key: bytes, limit: Limit) -> None:
        self._provider, self._signing, self._limit = provider, signing, limit
        self._subject_key = subject_key
        self._verified: dict[bytes, Grant] = {}
        self._verified_with: Keyring = {}

    def known(self, token: bytes, now: float) -> Grant | None:
        """The grant of a token that was verified before with the keys of now. Raises Unavailable."""
        if (keys := self._signing.keys(now)) is not self._verified_with:
            self._verified, self._verified_with = {}, keys
        grant = self._verified.get(hashlib.sha256(token).digest())
        return grant if grant is not None and now < grant.until else None

    def verify(self, token: bytes, now: float) -> Grant | None:
        """The grant of a token, None when it does not count. Raises KeysOnTheirWay when it names a key that may have come since, Unavailable."""
        if len(token) > LONGEST:
            return None
        try:
            claims = self._claims(token, now)
            grant = self._grant(claims)
        except (PyJWTError, ValueError, RecursionError):
            return None  # why is not said: the reason holds what was sent
        if len(self._verified) >= REMEMBERED:
            self._verified.pop(next(iter(self._verified)))
        self._verified[hashlib.sha256(token).digest()] = grant
        return grant

    def close(self) -> None:
        self._signing.close()

    def _claims(self, token: bytes, now: float) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if header.get("alg") not in ALGORITHMS or not isinstance(kid, str):
            raise ValueError("not one of our algorithms, or no kid")
        key = self._signing.keys(now).get(kid)
        if key is None:
            if (fetch := self._signing.missing(now)) is not None:
                raise KeysOnTheirWay(fetch)
            raise ValueError("nobody's key")
        return jwt.decode(  # the algorithm is the key's, whatever the token says of itself
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=self._provider.issuer,
            audience=self._provider.audience,
            leeway=LEEWAY_SECONDS,
            options={"require": REQUIRED},
        )

    def _grant(self, claims: Mapping[str, Any]) -> Grant:
        subject = claims["sub"]
        if not subject:
            raise ValueError("nobody")
        name = pseudonym(self._subject_key, f"caller\0{claims['iss']}\0{subject}")
        actions = actions_of(_roles(claims, self._provider))
        caller = Caller(f"oidc:{name[:32]}", actions, _models(claims, self._provider))
        return Grant(caller, self._limit, float(claims["exp"]) + LEEWAY_SECONDS)


def _roles(claims: Mapping[str, Any], provider: Provider) -> list[CallerRole]:
    """Our roles in the configured claim, a string or a list; none when it is absent: such a person may log in and do nothing."""
    names = _texts(_claim(claims, provider.role_claim))
    translated = [provider.roles.get(name) for name in names] if provider.roles else names
    return [role for role in CALLER_ROLES if role in translated]


def _models(claims: Mapping[str, Any], provider: Provider) -> frozenset[str] | None:
    """The models in the configured claim, none when it is absent; every model (None) when no claim is configured."""
    return frozenset(_texts(_claim(claims, provider.models_claim))) if provider.models_claim else None


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim `name`; where there is none, what its dots lead to (Keycloak's realm_access.roles)."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def tokens_of(settings: Settings, limit: Limit) -> Tokens | None:
    """The tokens that count by `settings`, None without an identity provider. The first fetch of its keys begins. Raises Refused."""
    provider = provider_of(settings)
    if provider is None:
        return None
    keys = KeysInFile(provider.keys) if isinstance(provider.keys, Path) else FetchedKeys(provider.keys)
    return Tokens(provider, keys, settings.subject_key.get_secret_value().encode(), limit)
