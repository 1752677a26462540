"""The free texts of one question, as they may be kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from medtower.domain.contract import Contract
from medtower.domain.prediction import RedactedText
from medtower.gateway.answering.plan import plan_of
from medtower.gateway.privacy import scan

INLINE = (
    500  # characters that are scanned in about 2 ms; longer ones leave the event loop to the others meanwhile
)


def has_text(contracts: Iterable[Contract]) -> bool:
    """Whether any of the `contracts` takes free text."""
    return any(contract.texts for contract in contracts)


def prepare_for(contracts: Iterable[Contract]) -> None:
    """Begin to build what texts are scanned with, in a thread, when any of the `contracts` takes one."""
    if not scan.prepared() and has_text(contracts):
        threading.Thread(target=scan.prepare, name="text-scanner", daemon=True).start()


async def texts_of(key: bytes, contract: Contract, features: Mapping[str, Any]) -> dict[str, RedactedText]:
    """The redacted form and the keyed hash of every free text in `features`, by field. `features` have passed `encode`, so no text is too long."""
    found = {}
    for name in plan_of(contract).texts:
        if isinstance(value := features.get(name), str):
            redacted = await _redacted(key, value)
            found[name] = RedactedText(redacted=redacted.text, sha256=redacted.sha256)
    return found


async def _redacted(key: bytes, text: str) -> scan.Redacted:
    if len(text) <= INLINE and scan.prepared():
        return scan.redact(key, text)
    return await asyncio.to_thread(scan.redact, key, text)
