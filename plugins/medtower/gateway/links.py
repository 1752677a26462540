"""Addresses of webhooks, Redis and the collector: over TLS, or of this machine. (Not Triton and Postgres: a network policy stands before the one, and
the DSN says what the other wants.)"""

from __future__ import annotations

import ipaddress
from urllib.parse import parse_qsl, urlsplit

from medtower.errors import Refused

OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


def guarded(setting: str, url: str, *, schemes: tuple[str, ...], encrypted: str) -> str:
    """`url`, when its scheme is `encrypted`, or one of `schemes` and its host this machine. Raises Refused naming the setting and never the address,
    which may hold a password."""
    try:
        parts = urlsplit(url)
        scheme, host, options = parts.scheme, parts.hostname or "", {k for k, _ in parse_qsl(parts.query)}
    except ValueError:
        raise Refused("links", f"{setting} is not a URL; write {encrypted}://HOST:PORT") from None
    if options - OPTIONS:  # one of them would switch the verification of certificates off
        raise Refused("links", f"{setting} has options beyond {', '.join(sorted(OPTIONS))}; remove them")
    if (scheme == encrypted and host) or (scheme in schemes and (scheme == "unix" or _is_here(host))):
        return url
    raise Refused(
        "links",
        f"{setting} leads over the network without TLS; write {encrypted}://HOST:PORT, or an address of this machine",
    )


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
