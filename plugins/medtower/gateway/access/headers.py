"""Security headers, on every answer (OWASP REST Security Cheat Sheet): nothing is cached, framed, guessed at or run."""

from __future__ import annotations

import base64
import hashlib
import re

from starlette.types import Message

HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
HSTS = (b"strict-transport-security", b"max-age=31536000")
"""Over TLS only (RFC 6797, 7.2): a browser that was here once will not come without."""
SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def secure(start: Message, *, tls: bool) -> None:
    """Add to an ASGI `http.response.start` the headers that it does not have of its own."""
    headers = start["headers"] = list(start.get("headers", ()))
    own = {name for name, _ in headers}
    headers += [header for header in HEADERS if header[0] not in own]
    if tls:
        headers.append(HSTS)


def page_policy(page: bytes) -> str:
    """The Content-Security-Policy of an HTML page with scripts, styles and pictures from here: its own inline scripts may run, by their hash,
    and no other."""
    hashes = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in SCRIPT.findall(page)]
    scripts = " ".join(["'self'", *(f"'sha256-{value}'" for value in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
