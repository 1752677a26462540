"""The public keys of the identity provider (JSON Web Key Set, RFC 7517), from a file or fetched beside the event loop."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import httpx
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from medtower.errors import Unavailable

log = logging.getLogger(__name__)
ALGORITHMS = ("RS256", "ES256")
SMALLEST_RSA = 2048
LARGEST = 512 * 1024
TIMEOUT_SECONDS = 5.0
REFRESH_SECONDS = 600.0
AT_MOST_EVERY_SECONDS = 60.0
KEPT_SECONDS = 24 * 3600.0
"""How long keys count that could not be fetched again since."""

Keyring = Mapping[str, PyJWK]
PART = "identity provider"


class KeysOnTheirWay(Unavailable):
    """`fetch` is done when the keys have come, or have not."""

    def __init__(self, fetch: Future[None]) -> None:
        self.fetch = fetch
        super().__init__(PART, "its keys are being fetched; try again in a moment")


class SigningKeys(Protocol):
    def keys(self, now: float, /) -> Keyring:
        """The keys that count now, by their id; the same object until they change. Raises Unavailable."""

    def missing(self, now: float, /) -> Future[None] | None:
        """Look for newer keys; None when that was done a moment ago."""

    def close(self) -> None: ...


def parse(document: bytes) -> dict[str, PyJWK]:
    """The keys of a set that can verify RS256 or ES256 signatures, by id. A symmetric, a private, a short or a nameless one is none. Raises ValueError when none is left."""
    body = json.loads(document)
    entries = body.get("keys") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is not a set of keys")
    found = {entry["kid"]: key for entry in entries if (key := _usable(entry)) is not None}
    if not found:
        raise ValueError(f"it holds no key for {' or '.join(ALGORITHMS)} with a kid")
    return found


def _usable(entry: Any) -> PyJWK | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return None
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(entry.get("kty")))
    if algorithm is None or entry.get("alg", algorithm) != algorithm or entry.get("use", "sig") != "sig":
        return None
    if "d" in entry or (algorithm == "ES256" and entry.get("crv") != "P-256"):
        return None
    try:
        key = PyJWK(entry, algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    return key if algorithm == "ES256" or key.key.key_size >= SMALLEST_RSA else None


class KeysInFile:
    """The set at `path`, read again when it changes; none counts while it is not one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: Keyring | None = None

    def keys(self, _now: float, /) -> Keyring:
        if (signature := self._signature()) != self._seen or self._keys is None:
            self._seen, self._keys = signature, self._read()
        if self._keys is None:
            raise Unavailable(PART, "its keys cannot be read; see the gateway's log")
        return self._keys

    def missing(self, _now: float, /) -> None:
        return None

    def close(self) -> None:
        return None

    def _read(self) -> Keyring | None:
        try:
            return parse(self._path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            log.error("the identity provider's keys cannot be read", extra={"reason": type(error).__name__})
            return None

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


class FetchedKeys:
    """The set at `url`, fetched in a thread of its own: every ten minutes, sooner for a key that is unknown, at most once a minute.

    While the provider is down the keys that were fetched last go on counting, for a day.
    """

    def __init__(self, url: str, fetch: Callable[[str], bytes] | None = None) -> None:
        self._url, self._fetch = url, fetch or _get
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="signing-keys")
        self._keys: Keyring = {}
        self._fetched = self._asked = float("-inf")
        self._running: Future[None] | None = None

    def keys(self, now: float, /) -> Keyring:
        if now - self._fetched > REFRESH_SECONDS:
            running = self.missing(now)
            if now - self._fetched > KEPT_SECONDS:
                if running is not None:
                    raise KeysOnTheirWay(running)
                raise Unavailable(PART, "its keys could not be fetched; see the gateway's log")
        return self._keys

    def missing(self, now: float, /) -> Future[None] | None:
        if self._running is not None and not self._running.done():
            return self._running
        if abs(now - self._asked) < AT_MOST_EVERY_SECONDS:
            return None
        self._asked = now
        self._running = self._thread.submit(self._renew, now)
        return self._running

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _renew(self, now: float) -> None:
        try:
            self._keys = parse(self._fetch(self._url))
        except (httpx.HTTPError, OSError, ValueError, RecursionError) as error:
            log.error(
                "the identity provider's keys cannot be fetched", extra={"reason": type(error).__name__}
            )
        else:
            self._fetched = now


def _get(url: str) -> bytes:
    """The body at `url`: no redirect is followed, and nothing is read beyond the largest set that makes sense. Raises httpx.HTTPError or ValueError."""
    from medtower.gateway.access.provider import is_loopback

    with (
        httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=not is_loopback(url)) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
    ):
        if answer.status_code != 200:
            raise ValueError(f"it answered {answer.status_code}")
        body = bytearray()
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > LARGEST:
                raise ValueError("it is too large for a set of keys")
        return bytes(body)
