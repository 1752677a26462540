"""Who is asking. One door for HTTP and gRPC: a key or a token in, a caller out."""

from __future__ import annotations

import asyncio
import logging

from medtower.domain.access import Caller
from medtower.errors import RateLimited, Unauthorized
from medtower.gateway.access.keys import Grant, Keys, Limit
from medtower.gateway.access.limits import Buckets, network
from medtower.gateway.access.login import Headers, given
from medtower.gateway.access.signing_keys import KeysOnTheirWay
from medtower.gateway.access.tokens import Tokens, is_token, tokens_of
from medtower.settings import Settings

log = logging.getLogger(__name__)
ATTEMPTS = Limit(rate=5, burst=100)
"""Of logins that fail, from one address."""
PATIENCE_SECONDS = 3.0


class Access:
    """The keys and the tokens that count here, and how much each caller has asked lately."""

    def __init__(self, keys: Keys, tokens: Tokens | None = None) -> None:
        self._keys, self._tokens = keys, tokens
        self._asked, self._failed = Buckets(), Buckets()

    def identify(self, headers: Headers, peer: str | None, now: float) -> Caller:
        """The caller with the login in `headers`; `peer` is the client's address, `now` seconds since 1970. Takes one of the caller's requests.

        Raises Unauthorized; RateLimited for a caller, or an address without a login, that asks too much; Unavailable while the keys or the
        identity provider's cannot be read (KeysOnTheirWay: not yet; `admit` waits).
        """
        presented = given(headers)
        grant = None if presented is None else self._grant(presented, peer, now)
        if grant is None:
            raise self._refusal(peer, now)
        if wait := self._asked.take(grant.caller.id, grant.limit.rate, grant.limit.burst, now):
            raise RateLimited(wait)
        return grant.caller

    async def admit(self, headers: Headers, peer: str | None, now: float) -> Caller:
        """As `identify`, and when the identity provider's keys are being fetched, a short wait for them."""
        try:
            return self.identify(headers, peer, now)
        except KeysOnTheirWay as coming:
            await asyncio.wait([asyncio.wrap_future(coming.fetch)], timeout=PATIENCE_SECONDS)
            return self.identify(headers, peer, now)

    def charge(self, caller: Caller, rows: int, now: float) -> None:
        """Take what a request of `rows` cases costs beyond the one that it paid at the door. Raises RateLimited; the door's is not given back."""
        if rows > 1 and (wait := self._asked.take_more(caller.id, rows - 1, now)):
            raise RateLimited(wait)

    def close(self) -> None:
        if self._tokens:
            self._tokens.close()

    def _grant(self, presented: bytes, peer: str | None, now: float) -> Grant | None:
        if not is_token(presented):
            return self._keys.find(presented, now)
        if self._tokens is None:
            return None
        known = self._tokens.known(presented, now)
        if known is None:  # a signature is costly to check: not for an address that has only sent bad ones
            if wait := self._failed.empty(_name(peer), ATTEMPTS.rate, now):
                raise RateLimited(wait)
            known = self._tokens.verify(presented, now)
        return known

    def _refusal(self, peer: str | None, now: float) -> Unauthorized | RateLimited:
        wait = self._failed.take(_name(peer), ATTEMPTS.rate, ATTEMPTS.burst, now)
        return RateLimited(wait) if wait else Unauthorized()


def _name(peer: str | None) -> str:
    return network(peer or "")


def access_of(settings: Settings) -> Access:
    """The access that `settings` describe. Raises Refused when they name half of an identity provider, or one that cannot be trusted."""
    limit = Limit(settings.caller_rate, settings.caller_burst)
    return Access(Keys(settings.path("access"), limit), tokens_of(settings, limit))
