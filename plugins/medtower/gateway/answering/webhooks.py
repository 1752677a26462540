"""The webhooks that emergencies are told to: addresses from the settings, one attempt at a time, nothing of the answer but its ids."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import httpx

from medtower.domain.escalation import Escalation
from medtower.gateway.links import guarded

Result = Literal["delivered", "refused", "unreachable", "unconfigured"]
SECONDS = 5.0
KEY = "Idempotency-Key"  # https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/


class Webhooks:
    """`urls` by the names that contracts use (their queries may hold a token). `authority`: the file (PEM) of the hospital's own certificate authority, else the public ones count.

    Raises Refused for an address that would send what it is told over the network in the clear.
    """

    def __init__(self, urls: Mapping[str, str], authority: Path | None = None) -> None:
        for name, url in urls.items():
            guarded(
                f"MEDTOWER_WEBHOOKS ({name})", url.partition("?")[0], schemes=("http",), encrypted="https"
            )
        self._urls = dict(urls)
        verify = ssl.create_default_context(cafile=str(authority)) if authority else True
        # trust_env: a proxy or a .netrc of the machine has no part in this; a redirect would lead to where nobody approved
        self._http = httpx.AsyncClient(
            timeout=SECONDS, trust_env=False, follow_redirects=False, verify=verify
        )

    async def post(self, escalation: Escalation) -> Result:
        """Try once, for five seconds at most. Whoever gets it twice knows it by its `Idempotency-Key`, the request id. It raises nothing."""
        url = self._urls.get(escalation.webhook)
        if url is None:
            return "unconfigured"
        headers = {"Content-Type": "application/json", KEY: escalation.request_id}
        try:
            # the answer's body is not read: only its status counts, and it may be endless
            async with self._http.stream("POST", url, content=escalation.body(), headers=headers) as response:
                return "delivered" if response.is_success else "refused"
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            return "unreachable"

    async def close(self) -> None:
        await self._http.aclose()
