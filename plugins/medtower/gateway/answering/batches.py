"""Requests for one version that arrive together leave for Triton as one batch.

Nobody waits for company: a request leaves with whatever else came in the same turn of the event loop. Only when as many batches as are
allowed are on their way does a request wait, and it then leaves with all that wait beside it.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from medtower.errors import DeadlineExceeded, MedtowerError, ModelMisbehaved, Unavailable

ROWS = 64
ON_THEIR_WAY = 2
WAITING = 1024
LOOK_SECONDS = 0.01
"""How often it is looked for what is too late."""
NOT_FINITE = "the answer is not a finite number"
STOPPING = Unavailable("Triton", "the gateway is stopping")

# (model, version, rows, seconds) -> one number a row
Send = Callable[[str, int, Sequence["array[float]"], float], Awaitable[Sequence[float]]]


class _Request(msgspec.Struct, eq=False):
    row: array[float]
    seconds: float
    until: float  # the event loop's clock
    answer: asyncio.Future[float]


@dataclass(slots=True)
class _Queue:
    model: str
    version: int
    waiting: deque[_Request] = field(default_factory=deque)
    on_their_way: int = 0
    leaving: bool = False


class Batches:
    """`send` asks Triton. At most `rows` rows go in a batch, `on_their_way` batches of a version at once, and `waiting` requests wait for a version."""

    def __init__(
        self, send: Send, *, rows: int = ROWS, on_their_way: int = ON_THEIR_WAY, waiting: int = WAITING
    ) -> None:
        self._send, self._rows, self._on_their_way, self._most = send, rows, on_their_way, waiting
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[_Request] = set()
        self._looking: asyncio.TimerHandle | None = None
        self.left: Callable[[int], object] = _nothing

    def depth(self) -> int:
        """How many requests wait for their batch to leave."""
        return sum(len(queue.waiting) for queue in self._queues.values())

    async def infer(self, model: str, version: int, row: array[float], seconds: float) -> float:
        """The number for `row` (float32 [inputs]), within `seconds`.

        Raises DeadlineExceeded (up to `LOOK_SECONDS` late), Unavailable when too many wait for the version already (Triton was not asked),
        ModelMisbehaved for a number that is not finite, and what `send` raises. Rows of a batch that the version cannot digest are asked again one by
        one: no row fails another.
        """
        loop = asyncio.get_running_loop()
        queue = self._queues.get((model, version))
        if queue is None:
            queue = self._queues[model, version] = _Queue(model, version)
        if len(queue.waiting) >= self._most:
            raise Unavailable(f"{model} {version}", f"{self._most} requests wait for it already")
        request = _Request(row, seconds, loop.time() + seconds, loop.create_future())
        queue.waiting.append(request)
        self._open.add(request)
        self._depart(queue)
        if self._looking is None:
            self._look()
        try:
            return await request.answer
        finally:
            self._open.discard(request)

    async def close(self) -> None:
        """Give up what is on its way, and what waits to be."""
        for queue in self._queues.values():
            _fail(queue.waiting, STOPPING)
        for task in self._tasks:
            task.cancel()
        if self._looking:
            self._looking.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self) -> None:
        """Give up what is too late; again and again while anything is open. A timer for each request would cost more than its place in the batch."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for request in [request for request in self._open if request.until <= now]:
            _fail([request], DeadlineExceeded("Triton", round(request.seconds, 3)))
        self._looking = loop.call_later(LOOK_SECONDS, self._look) if self._open else None

    def _depart(self, queue: _Queue) -> None:
        """Let a batch leave at the end of this turn of the loop, if one may."""
        if queue.waiting and not queue.leaving and queue.on_their_way < self._on_their_way:
            queue.leaving = True
            asyncio.get_running_loop().call_soon(self._leave, queue)

    def _leave(self, queue: _Queue) -> None:
        queue.leaving = False
        batch: list[_Request] = []
        while queue.waiting and len(batch) < self._rows:
            request = queue.waiting.popleft()
            if not request.answer.done():  # else its caller has given up
                batch.append(request)
        if batch:
            queue.on_their_way += 1
            task = asyncio.get_running_loop().create_task(self._run(queue, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: _fail(batch, STOPPING))  # whom it left without an answer
            self._depart(queue)

    async def _run(self, queue: _Queue, batch: list[_Request]) -> None:
        self.left(len(batch))
        try:
            await self._asked(queue, batch)
        finally:
            queue.on_their_way -= 1
            if queue.waiting:
                self._depart(queue)
            elif not queue.on_their_way:
                self._queues.pop((queue.model, queue.version), None)

    async def _asked(self, queue: _Queue, batch: list[_Request]) -> None:
        seconds = max(request.until for request in batch) - asyncio.get_running_loop().time()
        try:
            numbers = await self._send(
                queue.model, queue.version, [request.row for request in batch], seconds
            )
        except ModelMisbehaved as error:
            if len(batch) == 1:
                return _fail(batch, error)
            await asyncio.gather(*(self._asked(queue, [request]) for request in batch))
        except MedtowerError as error:
            _fail(batch, error)
        else:
            for request, number in zip(batch, numbers, strict=True):
                if not math.isfinite(number):
                    _fail([request], ModelMisbehaved(queue.model, queue.version, NOT_FINITE))
                elif not request.answer.done():
                    request.answer.set_result(number)
        return None


def _nothing(size: int) -> None:
    """Until somebody counts the sizes of the batches that left."""


def _fail(batch: Iterable[_Request], error: MedtowerError) -> None:
    for request in batch:
        if not request.answer.done():
            request.answer.set_exception(error)
