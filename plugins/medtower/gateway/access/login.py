"""The login in a request's headers, from HTTP and gRPC alike. Nothing in a path, a query or a body is ever one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import TypeAlias

Pairs: TypeAlias = Iterable[tuple[str | bytes, str | bytes]]
Headers: TypeAlias = Pairs | Mapping[bytes, bytes] | Mapping[str, str]
NAMES = frozenset({b"x-api-key", "x-api-key", b"authorization", "authorization"})
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})
BEARER = b"bearer "


def given(headers: Headers) -> bytes | None:
    """The key or the token that was presented, None without exactly one: of two, nobody knows which was meant.

    `headers` are the pairs of an ASGI scope (lower-case names), gRPC's invocation metadata, or a mapping of either.
    """
    found: tuple[str | bytes, str | bytes] | None = None
    for pair in headers.items() if isinstance(headers, dict) else headers:
        if pair[0] in NAMES:
            if found is not None:
                return None
            found = pair  # type: ignore[assignment]  # a mapping's items are pairs too
    if found is None:
        return None
    name, value = found
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    if name in (b"authorization", "authorization"):
        return raw[len(BEARER) :].strip() or None if raw[: len(BEARER)].lower() == BEARER else None
    return raw or None


def from_here(headers: Iterable[tuple[bytes, bytes]], peer: str | None) -> bool:
    """Whether the request comes from this machine itself, and not through a proxy on it."""
    try:
        here = peer is not None and ip_address(peer).is_loopback
    except ValueError:
        return False
    return here and not any(name in FORWARDED for name, _ in headers)
