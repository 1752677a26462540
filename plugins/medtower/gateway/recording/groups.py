"""Rows that arrive together go to the disk together: those of one turn of the event loop are one job of the spool, and hear of it at once."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, field

from medtower.adapters.spool import WAITING, Spool
from medtower.adapters.spool_outbox import Row
from medtower.errors import RecordUnavailable


@dataclass(slots=True)
class _Group:
    rows: list[Row] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    late: asyncio.TimerHandle | None = None

    def settle(self, error: BaseException | None) -> None:
        """Tell everybody who still waits."""
        if self.late:
            self.late.cancel()
        for waiter in self.waiters:
            if waiter.done():  # its caller hung up
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class Groups:
    """`add` is for one event loop. At most `waiting` rows wait, `deadline` seconds each."""

    def __init__(self, spool: Spool, *, deadline: float, waiting: int = WAITING) -> None:
        self._spool, self._deadline, self._most = spool, deadline, waiting
        self._group = _Group()
        self._waiting = 0

    async def add(self, row: Row) -> None:
        """Return when `row` is on the disk. Raises RecordUnavailable when it is not, or not known to be."""
        if self._waiting >= self._most:
            raise RecordUnavailable(f"{self._most} requests wait for the disk already")
        loop = asyncio.get_running_loop()
        if not self._group.rows:
            loop.call_soon(self._leave, loop)
        waiter: asyncio.Future[None] = loop.create_future()
        self._group.rows.append(row)
        self._group.waiters.append(waiter)
        self._waiting += 1
        try:
            await waiter
        finally:
            self._waiting -= 1

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        group, self._group = self._group, _Group()

        def written(done: Future[None]) -> None:
            if not (done.cancelled() or loop.is_closed()):
                loop.call_soon_threadsafe(group.settle, done.exception())

        def late() -> None:
            done.cancel()  # what nobody is told is not recorded, unless it is being written just now
            group.settle(RecordUnavailable(f"the disk did not answer within {self._deadline:g} s"))

        pairs = zip(group.rows, group.waiters, strict=True)
        done = self._spool.append([row for row, waiter in pairs if not waiter.done()])
        done.add_done_callback(written)
        group.late = loop.call_later(self._deadline, late)
