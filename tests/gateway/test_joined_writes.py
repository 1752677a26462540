from __future__ import annotations

import asyncio

import pytest

from medtower.gateway.joined_writes import LARGEST, JoinedWrites


class Wire(asyncio.Transport):
    """A transport that notes what was written; `open` until it is told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.open = True

    def write(self, data: bytes) -> None:
        self.packets.append(data)

    def is_closing(self) -> bool:
        return not self.open

    def close(self) -> None:
        self.open = False


@pytest.mark.parametrize(
    ("pieces", "before_its_end", "after_it"),
    [
        ([b"head", b"body"], [], [b"headbody"]),
        ([b"x" * LARGEST, b"y"], [b"x" * LARGEST + b"y"], [b"x" * LARGEST + b"y"]),
        ([b"x" * LARGEST, b"y", b"z"], [b"x" * LARGEST + b"y"], [b"x" * LARGEST + b"y", b"z"]),
    ],
    ids=["one answer", "much", "much and more"],
)
def test_what_is_written_in_one_turn_leaves_together(
    pieces: list[bytes], before_its_end: list[bytes], after_it: list[bytes]
) -> None:
    async def written() -> tuple[list[bytes], list[bytes]]:
        wire = Wire()
        joined = JoinedWrites(wire)
        for piece in pieces:
            joined.write(piece)
        now = list(wire.packets)
        await asyncio.sleep(0)
        return now, wire.packets

    assert asyncio.run(written()) == (before_its_end, after_it)


@pytest.mark.parametrize("lost", [False, True])
def test_closing_sends_what_was_written_unless_the_connection_is_lost(lost: bool) -> None:
    async def written() -> list[bytes]:
        wire = Wire()
        wire.open = not lost
        joined = JoinedWrites(wire)
        joined.write(b"last words")
        joined.close()
        await asyncio.sleep(0)
        assert joined.is_closing()
        return wire.packets

    assert asyncio.run(written()) == ([] if lost else [b"last words"])
