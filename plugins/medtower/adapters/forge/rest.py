"""One REST API over HTTP: the token, retries, pages, limits, and every failure as an error that says what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from medtower.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    MedtowerError,
    NotFound,
    Refused,
    Unavailable,
)

ATTEMPTS = 4
FIRST_PAUSE = 0.5  # seconds; doubled after every attempt
PATIENCE = 10.0  # the longest that a rate limit is waited for
A_DAY = 86_400.0
LARGEST_ANSWER = 16 << 20
MOST_PAGES = 100
PER_PAGE = 50  # Gitea's usual maximum


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def limited(self) -> bool:
        """True when it was refused for its number, not for its rights. GitHub says so with 403, too."""
        told = self.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in self.headers
        return self.status == 429 or (self.status == 403 and told)

    def wait(self) -> float:
        """Seconds until it may be asked again, as it says; PATIENCE and more when it does not say."""
        after, reset = self.headers.get("retry-after", ""), self.headers.get("x-ratelimit-reset", "")
        if after.isdecimal():
            return min(float(after), A_DAY)
        return min(max(0.0, float(reset) - time.time()), A_DAY) if reset.isdecimal() else PATIENCE + 1

    def value(self) -> Any:
        """Its JSON. Raises ValueError when it is none, or nested so deeply that reading it would exhaust the stack."""
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    def words(self) -> str:
        """Its own explanation, as one short line."""
        try:
            found = self.value()
        except ValueError:
            return ""
        if not isinstance(found, dict):
            return ""
        parts = [found.get("message"), *(e.get("message") for e in _dicts(found.get("errors")))]
        line = "; ".join(p for p in parts if isinstance(p, str))
        return "".join(c if c.isprintable() else " " for c in line)[:200]


class Rest:
    """The API at `base` (https, or http on loopback) of the forge named `part`, asked with `token`.

    The token goes to that address only: a redirect is an error, and a page's successor is asked for by number. `deadline` is in seconds for one
    answer. Only calls that may be repeated are repeated, after no answer or 5xx, four times at most.
    """

    def __init__(
        self,
        part: str,
        base: str,
        token: SecretStr,
        scheme: str,
        *,
        headers: Mapping[str, str] = {},
        deadline: float = 30,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.part, self._deadline, self._pause = part, deadline, pause
        given = {"User-Agent": "medtower", **headers}
        if token.get_secret_value():
            given["Authorization"] = f"{scheme} {token.get_secret_value()}"
        # a proxy and a hospital's own certificate authority come from the environment, except for loopback
        self._http = httpx.Client(
            base_url=base,
            headers=given,
            timeout=deadline,
            trust_env=not on_loopback(base),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> Any:
        return self._call("GET", path, query=query, repeatable=True)

    def pages(self, path: str, **query: str | int) -> Iterator[Any]:
        """The items of all pages."""
        for page in range(1, MOST_PAGES + 1):
            answer = self._ask(
                "GET", path, query={**query, "page": page, "per_page": PER_PAGE, "limit": PER_PAGE}
            )
            found = self._read(answer, "GET", path)
            if not isinstance(found, list):
                raise self.garbled(path)
            yield from found
            if 'rel="next"' not in answer.headers.get("link", ""):
                return
        raise Unavailable(self.part, f"{path} has more than {MOST_PAGES} pages")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """For bodies that set what they name: asking twice is asking once."""
        return self._call("PATCH", path, body, repeatable=True)

    def put(self, path: str, body: Mapping[str, Any], *, repeatable: bool) -> Any:
        return self._call("PUT", path, body, repeatable=repeatable)

    def garbled(self, path: str) -> Unavailable:
        """The error for an answer to `path` that is not what this API answers."""
        return Unavailable(
            self.part, f"what answers {path} is not its API; is MEDTOWER_FORGE_URL the address of the API?"
        )

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        repeatable: bool = False,
    ) -> Any:
        return self._read(self._ask(method, path, body, query=query, repeatable=repeatable), method, path)

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        pause = FIRST_PAUSE
        for left in reversed(range(ATTEMPTS if repeatable else 1)):
            try:
                answer = self._once(method, path, body, query)
            except MedtowerError:
                if not left:
                    raise
                wait = pause
            else:
                wait = answer.wait() if answer.limited else pause
                if not left or not (answer.status >= 500 or (answer.limited and wait <= PATIENCE)):
                    return answer
            self._pause(wait)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str | int] | None
    ) -> Answer:
        ends, content = time.monotonic() + self._deadline, bytearray()
        try:
            with self._http.stream(method, path, json=body, params=query) as found:
                for chunk in found.iter_bytes():
                    content += chunk
                    if len(content) > LARGEST_ANSWER:
                        raise Unavailable(
                            self.part, f"the answer to {path} is larger than {LARGEST_ANSWER >> 20} MiB"
                        )
                    if time.monotonic() > ends:
                        raise DeadlineExceeded(self.part, self._deadline)
                return Answer(found.status_code, found.headers, bytes(content))
        except httpx.TimeoutException:
            raise DeadlineExceeded(self.part, self._deadline) from None
        except httpx.HTTPError as error:
            raise Unavailable(
                self.part, f"{self._http.base_url.host} does not answer ({type(error).__name__})"
            ) from None

    def _read(self, answer: Answer, method: str, path: str) -> Any:
        if not 200 <= answer.status < 300:
            raise self._failure(answer, method, path)
        if not answer.content.strip():
            return None
        try:
            return answer.value()
        except ValueError:
            raise self.garbled(path) from None

    def _failure(self, answer: Answer, method: str, path: str) -> MedtowerError:
        """What `answer` means for whoever asked: wait, correct a setting, get a permission, or look again."""
        what, said = f"{method} {path}", f": {answer.words()}" if answer.words() else ""
        status, name = answer.status, self.part
        found: MedtowerError = InvalidInput(f"{name} refused {what} with {status}{said}")
        if answer.limited:
            until = datetime.fromtimestamp(time.time() + answer.wait(), UTC)
            found = Unavailable(name, f"its rate limit is reached; run it again after {until:%H:%M:%SZ}")
        elif 300 <= status < 400:
            there = urlsplit(answer.headers.get("location", "")).hostname or "another address"
            found = Refused(
                "forge",
                f"{name} sends {what} on to {there}, and the token goes to the configured address only; "
                "correct MEDTOWER_FORGE_URL or MEDTOWER_FORGE_REPOSITORY",
            )
        elif status == 401:
            found = Refused(
                "forge", f"{name} does not accept the token; set MEDTOWER_FORGE_TOKEN to a valid one"
            )
        elif status == 403:
            found = Refused("forge", f"the token may not {what}; give it that permission{said}")
        elif status == 404:
            found = NotFound(path, name, "check MEDTOWER_FORGE_REPOSITORY and that the token may see it")
        elif status in (405, 409, 423):
            found = Conflict(f"{name} does not do {what} now{said}")
        elif status >= 500:
            found = Unavailable(name, f"it answered {what} with {status}")
        return found


def _dicts(value: object) -> list[dict[str, object]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def on_loopback(base: str) -> bool:
    """True when the forge's address `base` is on this machine. Raises InvalidInput when a token would travel readable, or is in the address itself."""
    parts = urlsplit(base)
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise InvalidInput("MEDTOWER_FORGE_URL: write https://HOST/PATH, without user, password or query")
    loopback = _is_loopback(parts.hostname)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise InvalidInput("MEDTOWER_FORGE_URL: use https, so that nobody on the way reads the token")
    return loopback


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
