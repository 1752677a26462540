"""The connections to Triton: kept, limited, and never read past what was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from medtower.errors import DeadlineExceeded, Unavailable
from medtower.gateway.answering.connections import Connections

Writer = asyncio.StreamWriter
Answer = Callable[[str, Writer], Awaitable[None]]


class Server:
    """Reads requests and has `answer` write what comes back; counts the connections."""

    def __init__(self, answer: Answer) -> None:
        self._answer, self.connections, self.heads = answer, 0, list[str]()
        self.open: set[asyncio.Task[None] | None] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.connections += 1
        self.open.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length: ")[2].split()[0])
                self.heads.append(head)
                await self._answer((await reader.readexactly(length)).decode(), writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def run(answer: Answer, story: Callable[[Server, Connections], Awaitable[None]], limit: int = 1) -> None:
    """Tell `story` before a server that answers with `answer`; when it is over, every connection has ended."""

    async def scene() -> None:
        server = Server(answer)
        listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        to = Connections("Triton", f"127.0.0.1:{listening.sockets[0].getsockname()[1]}", limit=limit)
        async with asyncio.timeout(10), listening:
            await story(server, to)
            to.close()
            await asyncio.gather(*(task for task in server.open if task))

    asyncio.run(scene())


async def echo(body: str, writer: Writer) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\nX-Said: {body}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


async def ask(to: Connections, body: str, seconds: float = 5.0) -> str:
    reply = await to.request("POST", "/there", seconds=seconds, content=body.encode())
    assert reply.status == 200
    return reply.content.decode()


def test_one_connection_serves_one_request_after_the_other() -> None:
    async def story(server: Server, to: Connections) -> None:
        assert [await ask(to, f"{n}") for n in range(3)] == ["0", "1", "2"]
        assert server.connections == 1
        assert server.heads[0].startswith("POST /there HTTP/1.1\r\nHost: 127.0.0.1:")
        reply = await to.request("POST", "/", seconds=5, content=b"said")
        assert reply.headers[b"x-said"] == b"said"

    run(echo, story)


def test_no_more_connections_than_allowed_and_each_answer_to_its_own_request() -> None:
    async def story(server: Server, to: Connections) -> None:
        assert await asyncio.gather(*(ask(to, f"{n}") for n in range(8))) == [f"{n}" for n in range(8)]
        assert server.connections == 2

    run(echo, story, limit=2)


def test_the_answer_to_who_gave_up_is_not_read_as_the_next_ones() -> None:
    gate = asyncio.Event()

    async def slow(body: str, writer: Writer) -> None:
        if body == "slow":
            await gate.wait()
        await echo(body, writer)

    async def story(server: Server, to: Connections) -> None:
        with pytest.raises(DeadlineExceeded, match=r"0\.05"):
            await ask(to, "slow", 0.05)
        gate.set()
        assert await ask(to, "next") == "next"
        assert server.connections == 2

    run(slow, story)


@pytest.mark.parametrize(
    "written",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", b"this is no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 6_000_000],
    ids=["nothing", "half of it", "noise", "more than anybody sends"],
)  # fmt: skip
def test_what_is_no_whole_answer_is_unavailable_and_the_next_request_has_another_connection(
    written: bytes,
) -> None:
    async def broken(body: str, writer: Writer) -> None:
        if body == "good":
            return await echo(body, writer)
        writer.write(written)
        writer.close()
        return None

    async def story(server: Server, to: Connections) -> None:
        with pytest.raises(Unavailable, match="Triton is unavailable: no answer"):
            await ask(to, "bad")
        assert await ask(to, "good") == "good"
        assert server.connections == 2

    run(broken, story)


def test_a_server_that_closes_after_its_answer_is_asked_over_a_new_connection() -> None:
    async def once(body: str, writer: Writer) -> None:
        writer.write(
            f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        writer.close()

    async def story(server: Server, to: Connections) -> None:
        assert [await ask(to, f"{n}") for n in range(2)] == ["0", "1"]
        assert server.connections == 2

    run(once, story)


def test_a_body_in_chunks_is_put_together() -> None:
    async def chunks(_: str, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await writer.drain()
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    async def story(_: Server, to: Connections) -> None:
        assert [await ask(to, "x") for _ in range(2)] == ["onetwo", "onetwo"]

    run(chunks, story)


def test_a_kept_connection_that_says_something_unasked_is_not_used_again() -> None:
    async def talkative(body: str, writer: Writer) -> None:
        await echo(body, writer)
        await echo("unasked", writer)

    async def story(server: Server, to: Connections) -> None:
        assert [await ask(to, f"{n}") for n in range(2)] == ["0", "1"]
        assert server.connections == 2

    run(talkative, story)
