"""What arrives together leaves together, and no row fails another."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Awaitable, Callable, Sequence

import pytest

from medtower.errors import DeadlineExceeded, ModelMisbehaved, Unavailable
from medtower.gateway.answering.batches import Batches

ROW = array("f", [1.0, 2.0])


class Server:
    """Answers each row with its first number, once the gate is open; `poison` makes a batch that holds it fail."""

    def __init__(self, *, poison: float | None = None, error: Exception | None = None) -> None:
        self.batches: list[list[float]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.poison, self.error = poison, error

    async def __call__(
        self, model: str, version: int, rows: Sequence[array[float]], _seconds: float
    ) -> Sequence[float]:
        self.batches.append([row[0] for row in rows])
        await self.gate.wait()
        if self.error:
            raise self.error
        if self.poison in self.batches[-1]:
            raise ModelMisbehaved(model, version, "poison")
        return [row[0] for row in rows]


async def turns() -> None:
    """Let the loop come round until what was asked is at the server."""
    for _ in range(4):
        await asyncio.sleep(0)


def rows(*numbers: float) -> list[array[float]]:
    return [array("f", [number, 0.0]) for number in numbers]


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(limited())


def test_requests_of_one_turn_leave_as_one_batch_and_each_gets_its_own_answer() -> None:
    async def scenario() -> None:
        server = Server()
        batches = Batches(server)
        asked = [batches.infer("m", 1, row, 1.0) for row in rows(1, 2, 3)]
        assert await asyncio.gather(*asked) == [1.0, 2.0, 3.0]
        assert server.batches == [[1.0, 2.0, 3.0]]

    run(scenario)


def test_versions_never_share_a_batch() -> None:
    async def scenario() -> None:
        server = Server()
        batches = Batches(server)
        await asyncio.gather(batches.infer("m", 1, ROW, 1.0), batches.infer("m", 2, ROW, 1.0))
        assert server.batches == [[1.0], [1.0]]

    run(scenario)


def test_what_waits_behind_the_batches_on_their_way_leaves_together_and_no_batch_is_larger_than_allowed() -> (
    None
):
    async def scenario() -> None:
        server = Server()
        server.gate.clear()
        batches = Batches(server, rows=3, on_their_way=1)
        first = asyncio.create_task(batches.infer("m", 1, rows(0)[0], 5.0))
        await turns()
        rest = [asyncio.create_task(batches.infer("m", 1, row, 5.0)) for row in rows(1, 2, 3, 4)]
        await turns()
        assert (server.batches, batches.depth()) == ([[0.0]], 4)
        server.gate.set()
        assert await asyncio.gather(first, *rest) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert server.batches == [[0.0], [1.0, 2.0, 3.0], [4.0]]
        assert batches.depth() == 0

    run(scenario)


def test_a_row_that_a_version_cannot_digest_fails_alone() -> None:
    async def scenario() -> None:
        server = Server(poison=2.0)
        batches = Batches(server)
        found = await asyncio.gather(
            *(batches.infer("m", 1, row, 1.0) for row in rows(1, 2, 3)), return_exceptions=True
        )
        assert (found[0], type(found[1]), found[2]) == (1.0, ModelMisbehaved, 3.0)
        assert server.batches == [[1.0, 2.0, 3.0], [1.0], [2.0], [3.0]]

    run(scenario)


def test_a_number_that_is_not_finite_fails_its_own_row_only() -> None:
    async def scenario() -> None:
        server = Server()
        batches = Batches(server)
        found = await asyncio.gather(
            *(batches.infer("m", 1, row, 1.0) for row in rows(1, math.nan, 3)), return_exceptions=True
        )
        assert (found[0], type(found[1]), found[2]) == (1.0, ModelMisbehaved, 3.0)
        assert len(server.batches) == 1

    run(scenario)


def test_a_batch_that_triton_may_have_taken_is_not_asked_again() -> None:
    async def scenario() -> None:
        server = Server(error=Unavailable("Triton", "no answer"))
        batches = Batches(server)
        found = await asyncio.gather(
            *(batches.infer("m", 1, row, 1.0) for row in rows(1, 2)), return_exceptions=True
        )
        assert [type(error) for error in found] == [Unavailable, Unavailable]
        assert server.batches == [[1.0, 2.0]]

    run(scenario)


def test_who_gives_up_leaves_no_row_behind() -> None:
    async def scenario() -> None:
        server = Server()
        server.gate.clear()
        batches = Batches(server, on_their_way=1)
        held = asyncio.create_task(batches.infer("m", 1, rows(0)[0], 5.0))
        await turns()
        with pytest.raises(DeadlineExceeded, match=r"0\.01 s"):
            await batches.infer("m", 1, rows(1)[0], 0.01)
        server.gate.set()
        assert await held == 0.0
        assert await batches.infer("m", 1, rows(2)[0], 5.0) == 2.0
        assert server.batches == [[0.0], [2.0]]

    run(scenario)


def test_beyond_the_limit_nobody_waits() -> None:
    async def scenario() -> None:
        server = Server()
        server.gate.clear()
        batches = Batches(server, on_their_way=1, waiting=2)
        tasks = [asyncio.create_task(batches.infer("m", 1, ROW, 5.0))]
        await turns()
        tasks += [asyncio.create_task(batches.infer("m", 1, ROW, 5.0)) for _ in range(2)]
        await turns()
        with pytest.raises(Unavailable, match="2 requests wait"):
            await batches.infer("m", 1, ROW, 5.0)
        server.gate.set()
        assert await asyncio.gather(*tasks) == [1.0] * 3

    run(scenario)


def test_closing_fails_what_is_on_its_way() -> None:
    async def scenario() -> None:
        server = Server()
        server.gate.clear()
        batches = Batches(server)
        task = asyncio.create_task(batches.infer("m", 1, ROW, 5.0))
        await turns()
        await batches.close()
        with pytest.raises(Unavailable, match="stopping"):
            await task

    run(scenario)
