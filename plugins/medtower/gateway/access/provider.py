"""The identity provider as the settings describe it, refused when it could not be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from medtower.domain.access import CallerRole
from medtower.errors import Refused
from medtower.settings import Settings


@dataclass(frozen=True)
class Provider:
    """Whose tokens count, for whom they must be meant, where its keys are (URL or file), and which claims say role and models.

    `roles` maps what the provider calls a role to ours; empty: it calls them as we do.
    """

    issuer: str
    audience: str
    keys: str | Path
    role_claim: str
    roles: Mapping[str, CallerRole]
    models_claim: str


def provider_of(settings: Settings) -> Provider | None:
    """None when no identity provider is set. Raises Refused when it is set in part, or its keys would come over a line that others can write on."""
    needed = {name: getattr(settings, name) for name in ("oidc_issuer", "oidc_audience", "oidc_jwks")}
    if not any(needed.values()):
        return None
    if empty := [f"MEDTOWER_{name.upper()}" for name, value in needed.items() if not value]:
        raise Refused(
            "oidc", f"{', '.join(empty)} is empty; an identity provider needs issuer, audience and keys"
        )
    return Provider(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        keys=_place(settings.oidc_jwks),
        role_claim=settings.oidc_role_claim,
        roles=settings.oidc_roles,
        models_claim=settings.oidc_models_claim,
    )


def _place(jwks: str) -> str | Path:
    parts = urlsplit(jwks)
    if "://" not in jwks:
        return Path(jwks)
    if parts.username or parts.password:
        raise Refused("oidc", "MEDTOWER_OIDC_JWKS holds a password; public keys need none")
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(jwks)):
        return jwks
    raise Refused("oidc", "MEDTOWER_OIDC_JWKS must be https (http only on loopback) or a file")


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine by a loopback address, or as localhost."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
