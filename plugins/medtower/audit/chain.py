"""The hash chain of the audit trail: each event's digest covers its number, the event, and the digest before it.

digest = sha256 over the RFC 8785 (JSON Canonicalization Scheme) form of {"event", "previous", "sequence"}. An edited, deleted, inserted or swapped
event is named by its sequence number. A tail that was cut, or a chain that was computed anew from some point, is consistent in itself: only the
head that was anchored elsewhere (in git) tells, so give it to `verify`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import rfc8785

from medtower.domain.audit_event import GENESIS, AuditEvent, ChainedEvent
from medtower.errors import InvalidInput, Refused

__all__ = ["GENESIS", "ChainBroken", "link", "verify"]


class ChainBroken(Refused):
    """`sequence` is the first number that does not hold."""

    def __init__(self, sequence: int, what: str) -> None:
        self.sequence = sequence
        super().__init__(
            "audit-chain", f"event {sequence} {what}; compare with a backup before anything else is appended"
        )


def link(previous: str, sequence: int, event: AuditEvent) -> ChainedEvent:
    """Put `event` at `sequence` (from 1), after the event whose digest is `previous` (GENESIS for the first).

    Raises InvalidInput when the time has no zone or the details are not JSON.
    """
    if event.at.tzinfo is None:
        raise InvalidInput("an audit event's time needs a time zone; use UTC")
    return ChainedEvent(
        sequence=sequence, event=event, previous=previous, digest=_digest(previous, sequence, event)
    )


def verify(events: Iterable[ChainedEvent], *, anchor: tuple[int, str] | None = None) -> int:
    """The last sequence of `events`, which must be the whole chain in order; 0 when it is empty.

    `anchor` is a head (sequence, digest) seen earlier: it must still be in the chain. Raises ChainBroken naming the sequence.
    """
    last, previous = 0, GENESIS
    held = anchor is None or anchor == (0, GENESIS)
    for chained in events:
        if chained.sequence != last + 1:
            raise ChainBroken(
                last + 1, f"is missing or out of place: {chained.sequence} stands where it should be"
            )
        if chained.previous != previous:
            raise ChainBroken(chained.sequence, "does not follow the event before it")
        if chained.digest != _digest(previous, chained.sequence, chained.event):
            raise ChainBroken(chained.sequence, "was edited: its digest does not cover it")
        last, previous = chained.sequence, chained.digest
        held = held or anchor == (last, previous)
    if anchor is not None and not held:
        what = "was anchored and is gone" if anchor[0] > last else "differs from the anchored head"
        raise ChainBroken(anchor[0], what)
    return last


def _digest(previous: str, sequence: int, event: AuditEvent) -> str:
    # pydantic would turn NaN into null and a date into text: the details are taken as they are, and must be JSON
    canonical = event.model_dump(mode="json", exclude={"details"}) | {"details": event.details}
    body: dict[str, Any] = {"event": canonical, "previous": previous, "sequence": sequence}
    try:
        return hashlib.sha256(rfc8785.dumps(body)).hexdigest()
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise InvalidInput(
            f"the details of audit event {sequence} are not JSON: no NaN, no integer beyond 2^53, no broken text"
        ) from None
