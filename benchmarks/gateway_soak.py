"""The soak: the gateway is asked steadily while Postgres stops, the gateway is killed and Triton restarts; then the books are compared.

A request counts as acknowledged when its caller saw a 200. Half of them have an id of their caller's: such a one asks again when the connection broke,
with the same id and the same body, as a client that does not know whether it was heard must. The others leave the id to the gateway, which keeps
those another way, and do not ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psycopg2
from benchmarks.gateway_peers import network
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.gateway import PREDICT, Gateway, questions

from medtower.wait import wait_until

KEYS = ("acknowledged", "stored", "lost", "duplicates")
RATE = 200.0
KILLS, RESTARTS = 5, 2
PATIENCE = 60.0
PAUSE = 0.05
SLOWEST = 10.0
CONNECTIONS = 64
BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
Say = Callable[[str], None]


@dataclass
class Seen:
    """What the callers saw: `acknowledged` holds the prediction of every request id that got a 200."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    repeated: int = 0


class Callers:
    """Asks at `RATE` requests a second, each at its appointed time whether or not the one before has come back (an open loop). While the
    gateway does not listen, one of them looks for it and the others wait: hundreds that knock at a closed door would take the machine from it."""

    def __init__(self, gateway: Gateway, bodies: list[bytes]) -> None:
        self._gateway, self._questions = gateway, [json.loads(body) for body in bodies]
        self._listening = asyncio.Event()
        self._listening.set()
        self._look: asyncio.Task[None] | None = None
        self.seen = Seen()

    async def ask_until(self, over: asyncio.Event) -> None:
        """Send until `over` is set, then wait for what is under way."""
        headers = {**self._gateway.headers, "Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession(
                self._gateway.url,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=SLOWEST),
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            began = time.monotonic()
            while not over.is_set():
                due = int((time.monotonic() - began) * RATE)
                while self.seen.sent < due:
                    group.create_task(self._one(http, self.seen.sent))
                    self.seen.sent += 1
                await asyncio.sleep(1 / RATE)

    async def _one(self, http: aiohttp.ClientSession, number: int) -> None:
        chosen = {"request_id": str(uuid.uuid4())} if number % 2 else {}
        question = self._questions[number % len(self._questions)] | chosen
        body, gives_up = json.dumps(question).encode(), time.monotonic() + PATIENCE
        while time.monotonic() < gives_up:
            await self._listening.wait()
            try:
                async with http.post(PREDICT, data=body) as answer:
                    self._saw(answer.status, await answer.read())
            except TimeoutError:
                self.seen.refused["timeout"] += 1
            except BROKEN:
                self._broken()
                if chosen:
                    self.seen.repeated += 1
                    continue
                self.seen.refused["broken"] += 1
            return
        self.seen.refused["gave up"] += 1

    def _broken(self) -> None:
        """Have one task look for the gateway until somebody listens at its port again."""
        self._listening.clear()
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._find())

    async def _find(self) -> None:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
                writer.close()
                await writer.wait_closed()
                break
            await asyncio.sleep(PAUSE)
        self._listening.set()

    def _saw(self, status: int, content: bytes) -> None:
        if status == 200:
            answer = json.loads(content)
            self.seen.acknowledged[answer["request_id"]] = answer["prediction"]
        else:
            self.seen.refused[str(status)] += 1


def disturbances(seconds: float, kills: int = KILLS, restarts: int = RESTARTS) -> list[tuple[float, str]]:
    """What happens at which second, in order: the kills and restarts spread over the run, Postgres stopped from 40 % to 60 % of it."""
    planned = [(0.4, "stop postgres"), (0.6, "start postgres")]
    planned += [((number + 0.5) / kills, "kill gateway") for number in range(kills)]
    planned += [((number + 0.5) / restarts + 0.05, "restart triton") for number in range(restarts)]
    return sorted((share * seconds, what) for share, what in planned)


def soak(
    *,
    seconds: float,
    say: Say = lambda _: None,
    kills: int = KILLS,
    restarts: int = RESTARTS,
    record: bool = True,
) -> dict[str, int]:
    """Run it for `seconds` (longer when the parts need longer to come back) and return the counts: the four of KEYS first.

    `stored` are the acknowledged request ids that Postgres has, with the prediction that was acknowledged, after the spool has drained; `lost` the
    others; `duplicates` the rows beyond the first of a request id, acknowledged or not. `record=False` proves that a loss would be seen.
    """
    with _parts() as (backing, bodies):
        backing.start_postgres()
        backing.start_triton()
        gateway = Gateway(backing, record=record)
        try:
            gateway.start()
            callers = Callers(gateway, bodies)
            asyncio.run(
                _disturbed(callers, backing, gateway, disturbances(seconds, kills, restarts), seconds, say)
            )
            say("draining the spool")
            gateway.shipped()
        finally:
            gateway.stop()
        return compared(callers.seen, _rows(backing.dsn("medtower_reader")))


def compared(seen: Seen, rows: list[tuple[str, float]]) -> dict[str, int]:
    """The counts, from what the callers saw and what Postgres has: (request id, prediction) a row."""
    kept = dict(rows)
    stored = sum(
        math.isclose(kept.get(request_id, math.nan), said, abs_tol=1e-6)
        for request_id, said in seen.acknowledged.items()
    )
    return {
        "acknowledged": len(seen.acknowledged),
        "stored": stored,
        "lost": len(seen.acknowledged) - stored,
        "duplicates": len(rows) - len(kept),
        "sent": seen.sent,
        "asked_again_after_a_broken_connection": seen.repeated,
        "stored_without_being_acknowledged": len(kept.keys() - seen.acknowledged.keys()),
        **{f"not_answered_({why})": count for why, count in sorted(seen.refused.items())},
    }


@contextmanager
def _parts() -> Iterator[tuple[Backing, list[bytes]]]:
    home = Path(tempfile.mkdtemp(prefix="mt-soak-"))
    try:
        served = network.made(home / "network.onnx")
        with Backing(home, served) as backing:
            yield backing, questions(served)
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _disturbed(
    callers: Callers,
    backing: Backing,
    gateway: Gateway,
    planned: list[tuple[float, str]],
    seconds: float,
    say: Say,
) -> None:
    began, over = time.monotonic(), asyncio.Event()
    actions: dict[str, Callable[[], object]] = {
        "kill gateway": lambda: _killed(gateway),
        "restart triton": backing.restart_triton,
        "stop postgres": backing.stop_postgres,
        "start postgres": backing.start_postgres,
    }
    asking = asyncio.create_task(callers.ask_until(over))
    try:
        for at, what in [*planned, (seconds, "")]:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            if what:
                say(
                    f"{time.monotonic() - began:6.1f} s: {what}; {len(callers.seen.acknowledged)} acknowledged"
                )
                await asyncio.to_thread(actions[what])
    finally:
        over.set()
        await asking


def _killed(gateway: Gateway) -> None:
    """kill -9, and started again as its supervisor would."""
    if gateway.process:
        gateway.process.kill()
    gateway.start()


def _rows(dsn: str) -> list[tuple[str, float]]:
    """Every stored prediction: (request id, prediction)."""
    found: list[tuple[str, float]] = []

    def read() -> bool:
        try:
            connection = psycopg2.connect(dsn, connect_timeout=5)
        except psycopg2.OperationalError:
            return False
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "select request_id, prediction from medtower.predictions where model = %s", (network.MODEL,)
            )
            found.extend(cursor.fetchall())
        connection.close()
        return True

    if not wait_until(read, PATIENCE):
        raise TimeoutError
    return found
