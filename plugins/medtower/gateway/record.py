"""The record's asynchronous face: what an answer waits for before it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from medtower.adapters.spool import Kept, Spool
from medtower.domain.prediction import Outcome, Prediction
from medtower.errors import RecordUnavailable

T = TypeVar("T")
DEADLINE = 5.0


class Record:
    """Everything raises RecordUnavailable when the spool cannot keep it within `deadline` seconds; then the answer is withheld."""

    def __init__(self, spool: Spool, *, deadline: float = DEADLINE) -> None:
        self.spool, self._deadline = spool, deadline

    def answer(self, request_id: str, body_sha256: str) -> str | None:
        """What this request id was answered with, if it was; raises Conflict when its body was another."""
        return self.spool.answer(request_id, body_sha256)

    async def keep(self, prediction: Prediction, answer: str) -> Kept:
        """Return when both are on the disk, with the answer that stands there."""
        return await self._durable(self.spool.record(prediction, answer))

    async def keep_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        await self._durable(self.spool.record_outcomes(outcomes))

    async def probe(self) -> None:
        """Write one row: the only honest way to know that the next prediction can be kept."""
        await self._durable(self.spool.probe())

    async def _durable(self, future: Future[T]) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise RecordUnavailable(f"the disk did not answer within {self._deadline:g} s") from None
