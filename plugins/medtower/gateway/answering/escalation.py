"""Emergencies: somebody is told before the answer leaves, or as soon as it can be; at least once, whatever happens to this process.

The escalation is committed to the spool in the same transaction as its prediction. From there it is tried until a webhook says 2xx.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from medtower.domain.escalation import Escalation
from medtower.errors import RecordUnavailable
from medtower.gateway.answering.webhooks import Webhooks
from medtower.gateway.observing.metrics import Metrics
from medtower.gateway.recording.record import Record

log = logging.getLogger(__name__)
State = Literal["delivered", "pending"]
WAIT = 0.3  # of the half second that a crisis detection has at its 95th percentile
TOGETHER = 8
AT_ONCE = 64


class Escalations:
    """`wait` (seconds) is what an answer waits for its webhook. What was not taken is tried again after `idle` seconds, twice that after a round in
    which no webhook took anything, up to `longest`."""

    def __init__(
        self,
        webhooks: Webhooks,
        record: Record,
        metrics: Metrics,
        *,
        wait: float = WAIT,
        idle: float = 0.5,
        longest: float = 30.0,
    ) -> None:
        self._webhooks, self._record, self._metrics = webhooks, record, metrics
        self._wait, self._idle, self._longest = wait, idle, longest
        self._under_way: dict[str, asyncio.Task[State]] = {}
        self._retrying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Try what waits in the spool, also from before this process, until `close`."""
        self._retrying = asyncio.create_task(self._retry())

    async def close(self) -> None:
        """Give up the attempts on their way: what is not marked as delivered is tried again by the next process."""
        tasks = [*self._under_way.values(), *([self._retrying] if self._retrying else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._webhooks.close()

    async def fire(self, escalation: Escalation) -> State:
        """Try it now (it must be on record already), and wait for that a bounded time. An attempt that takes longer goes on behind the answer."""
        task = self._attempt(escalation)
        await asyncio.wait({task}, timeout=self._wait)
        return task.result() if task.done() and not task.cancelled() else "pending"

    def _attempt(self, escalation: Escalation) -> asyncio.Task[State]:
        """The attempt that is under way for it, begun now when there is none."""
        task = self._under_way.get(escalation.request_id)
        if task is None:
            task = asyncio.create_task(self._tell(escalation))
            self._under_way[escalation.request_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(escalation.request_id, None))
        return task

    async def _tell(self, escalation: Escalation) -> State:
        result = await self._webhooks.post(escalation)
        self._metrics.escalated(escalation.model, result)
        delivered = result == "delivered"
        if not delivered:
            extra = {
                "model": escalation.model,
                "version": escalation.version,
                "request_id": escalation.request_id,
            }
            log.error(
                "an emergency could not be escalated; it is tried again", extra=extra | {"reason": result}
            )
        try:
            await asyncio.wrap_future(self._record.spool.escalated(escalation, delivered=delivered))
        except RecordUnavailable as error:  # it stays pending, so the webhook hears of it once more
            log.error(
                "an escalation could not be marked", extra={"model": escalation.model, "reason": str(error)}
            )
        return "delivered" if delivered else "pending"

    async def _retry(self) -> None:
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            try:
                waiting, delivered = await self._round()
            except Exception as error:  # whatever it was, the next round must come
                log.error("escalations could not be looked at", extra={"reason": type(error).__name__})
                waiting, delivered = 1, 0
            idle = not waiting or delivered
            pause = self._idle if idle else min(self._longest, max(self._idle, pause * 2))

    async def _round(self) -> tuple[int, int]:
        """Try everything that waits and is not being tried; return how many were tried, and how many of them were delivered."""
        spooled = await asyncio.to_thread(self._record.spool.escalations, AT_ONCE)
        waiting = [each for each in spooled if each.request_id not in self._under_way]
        delivered = 0
        for start in range(0, len(waiting), TOGETHER):
            states = await asyncio.gather(*map(self._attempt, waiting[start : start + TOGETHER]))
            delivered += states.count("delivered")
        return len(waiting), delivered
