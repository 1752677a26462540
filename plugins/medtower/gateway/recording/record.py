"""The record's asynchronous face: what an answer waits for before it leaves."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TypeVar

from medtower.adapters.spool import Spool
from medtower.domain.escalation import Escalation
from medtower.domain.prediction import Failure, Outcome, Prediction, Shadowed
from medtower.errors import RecordUnavailable
from medtower.gateway.recording.groups import Groups

log = logging.getLogger(__name__)
T = TypeVar("T")
DEADLINE = 5.0
PATIENCE = 0.5


class Record:
    """What is waited for raises RecordUnavailable when the spool cannot keep it within `deadline` seconds; then the answer is withheld.

    That a circuit breaker opened is said once, by one failure: where it could not be kept, it is handed over again as soon as the disk takes
    something else, so that a restart and the next verdict know of it. A process that ends before that forgets it.
    """

    def __init__(self, spool: Spool, *, deadline: float = DEADLINE) -> None:
        self.spool, self._deadline = spool, deadline
        self._groups = Groups(spool, deadline=deadline)
        self._unkept: deque[Failure] = deque()

    def answer(self, request_id: str, body_sha256: str) -> str | None:
        """What this request id was answered with, if it was; raises Conflict when its body was another."""
        return self.spool.answer(request_id, body_sha256)

    async def keep(
        self,
        prediction: Prediction,
        answer: str,
        parts: Sequence[Prediction] = (),
        escalation: Escalation | None = None,
    ) -> str | None:
        """Return when all are on the disk: None, or the answer that stood there for this request id already. `parts` are what a composition made
        the prediction of, `escalation` is what it asks for. Raises Conflict when it stood there for another body."""
        kept = await self._durable(self.spool.record(prediction, answer, parts, escalation))
        return None if kept.fresh else kept.answer

    async def keep_unrepeatable(self, prediction: Prediction) -> None:
        """Return when it is on the disk. For a request id that was made here, which nobody can send again: nothing is remembered of it."""
        await self._groups.add(("prediction", prediction.json()))
        self._again()

    async def keep_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        await self._durable(self.spool.record_outcomes(outcomes))

    def note(self, *items: Failure | Shadowed) -> Future[None]:
        """Hand over what versions failed at or said in the shadow. It raises nothing: what cannot be kept is logged, and the caller's answer is what
        it would have been."""
        noted = self.spool.note(*items)
        noted.add_done_callback(lambda done: self._noted(done, items))
        return noted

    def _noted(self, done: Future[None], items: Sequence[Failure | Shadowed]) -> None:
        if (error := done.exception()) is not None:
            self._unkept.extend(item for item in items if isinstance(item, Failure) and item.opened)
            _complain(error, items)

    async def settled(self, noted: Future[None]) -> None:
        """Return when it is on the disk or never will be, after half a second at the latest: an error is not held up for its record."""
        waiter = asyncio.wrap_future(noted)
        waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({waiter}, timeout=PATIENCE)

    async def probe(self) -> None:
        """Write one row: the only honest way to know that the next prediction can be kept."""
        await self._durable(self.spool.probe())

    async def _durable(self, future: Future[T]) -> T:
        loop = asyncio.get_running_loop()
        waiter = asyncio.wrap_future(future)
        late = loop.call_later(self._deadline, waiter.cancel)
        try:
            kept = await waiter
        except asyncio.CancelledError:
            if loop.time() < late.when():  # somebody else gave up
                raise
            raise RecordUnavailable(f"the disk did not answer within {self._deadline:g} s") from None
        finally:
            late.cancel()
        self._again()
        return kept

    def _again(self) -> None:
        """Hand over what could not be kept, each once: the thread of the spool may add to it meanwhile."""
        for _ in range(len(self._unkept)):
            self.note(self._unkept.popleft())


def _complain(error: BaseException, items: Sequence[Failure | Shadowed]) -> None:
    first = items[0]
    extra = {"model": first.model, "version": first.version, "count": len(items), "reason": str(error)}
    log.error("what a rollout is judged by could not be kept", extra=extra)
