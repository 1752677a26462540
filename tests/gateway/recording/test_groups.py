"""Rows of one turn of the event loop are one job of the spool."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtower.adapters.spool import Spool
from medtower.errors import RecordUnavailable
from medtower.gateway.recording.groups import Groups


@pytest.fixture
def committed() -> list[int]:
    return []


@pytest.fixture
def spool(tmp_path: Path, committed: list[int]) -> Iterator[Spool]:
    spool = Spool(tmp_path / "predictions.sqlite", committed=committed.append)
    yield spool
    spool.close()


def rows(spool: Spool) -> list[str]:
    return [content for (content,) in spool._reader.execute("SELECT content FROM outbox ORDER BY sequence")]


class Held:
    """The disk does not answer until it is released."""

    def __init__(self, spool: Spool) -> None:
        self._entered, self._release = threading.Event(), threading.Event()
        spool._submit(self._hold)
        assert self._entered.wait(5)

    def _hold(self, _: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._release.wait(5)

    def release(self) -> None:
        self._release.set()


def test_what_comes_in_one_turn_is_one_transaction_in_its_order(spool: Spool, committed: list[int]) -> None:
    async def story() -> None:
        groups = Groups(spool, deadline=5)
        await asyncio.gather(*(groups.add(("prediction", f"{n}")) for n in range(5)))
        await groups.add(("prediction", "5"))

    asyncio.run(story())
    assert rows(spool) == ["0", "1", "2", "3", "4", "5"]
    assert committed == [5, 1]


def test_when_the_disk_refuses_everybody_of_the_group_is_told(spool: Spool) -> None:
    async def story() -> list[BaseException | None]:
        spool._submit(lambda connection: connection.execute("PRAGMA max_page_count=1")).result(5)
        groups = Groups(spool, deadline=5)
        large = "x" * 200_000
        return await asyncio.gather(
            *(groups.add(("prediction", large)) for _ in range(3)), return_exceptions=True
        )

    assert [type(each) for each in asyncio.run(story())] == [RecordUnavailable] * 3


def test_who_waits_longer_than_the_deadline_is_told_that_it_is_not_known(spool: Spool) -> None:
    async def story() -> None:
        held = Held(spool)
        groups = Groups(spool, deadline=0.05)
        with pytest.raises(RecordUnavailable, match=r"within 0\.05 s"):
            await groups.add(("prediction", "late"))
        held.release()
        await groups.add(("prediction", "next"))

    asyncio.run(story())
    assert rows(spool) == ["next"]


def test_beyond_the_limit_nobody_waits_and_room_comes_back(spool: Spool) -> None:
    async def story() -> None:
        held = Held(spool)
        groups = Groups(spool, deadline=5, waiting=2)
        first = [asyncio.create_task(groups.add(("prediction", f"{n}"))) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RecordUnavailable, match="2 requests wait for the disk"):
            await groups.add(("prediction", "2"))
        held.release()
        await asyncio.gather(*first)
        await groups.add(("prediction", "3"))

    asyncio.run(story())
    assert rows(spool) == ["0", "1", "3"]


def test_who_has_left_before_the_group_does_is_not_recorded(spool: Spool) -> None:
    async def story() -> None:
        groups = Groups(spool, deadline=5)
        gone = asyncio.create_task(groups.add(("prediction", "gone")))
        stays = asyncio.create_task(groups.add(("prediction", "stays")))
        asyncio.get_running_loop().call_soon(gone.cancel)
        await stays
        assert gone.cancelled()

    asyncio.run(story())
    assert rows(spool) == ["stays"]
