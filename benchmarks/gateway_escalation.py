"""How long an emergency's answer takes, its webhook included: real Triton, durable record and Postgres, and a webhook server on loopback.

The aim is p95 below 500 ms with the webhook told before the answer leaves. Caller and webhook share one event loop, whose work is in the times.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web
from benchmarks.gateway_peers import network
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.gateway import PREDICT, Gateway, questions

from medtower.errors import MedtowerError

THRESHOLD = 0.5
WEBHOOK = "crisis"
CALLERS = (1, 16)
WARM_UP = 50


@dataclass
class Told:
    """Of each request id, when its webhook had it and when its answer was there, by one clock (seconds)."""

    webhook: dict[str, float] = field(default_factory=dict)
    answer: dict[str, float] = field(default_factory=dict)
    took_ms: list[float] = field(default_factory=list)
    undelivered: int = 0


class Unescalated(MedtowerError):
    """Answers that are no emergencies say nothing about escalation."""

    def __init__(self, status: int, escalation: object) -> None:
        super().__init__(f"the gateway answered {status} with the escalation {escalation!r}; see its log")


def measured(requests: int, say: Callable[[str], object]) -> dict[str, float]:
    """Ask `requests` emergencies with each number of callers. Returns p50 and p95 (milliseconds) by callers, and how many webhooks came in time.

    Raises MedtowerError when a part cannot be started, or an answer is no emergency's.
    """
    with _home() as home, Backing(home, network.made(home / "network.onnx"), emergency()) as backing:
        backing.start_triton()
        backing.start_postgres()
        return asyncio.run(_measured(backing, requests, say))


def emergency() -> dict[str, object]:
    """What the contract of the benchmark's network says beside, so that some of its rows are emergencies."""
    return {"at_or_above": THRESHOLD, "webhook": WEBHOOK}


def summary(by_callers: dict[int, Told]) -> dict[str, float]:
    """The entry `escalation` of gateway.json. `told_before` counts answers whose webhook had been told when they came."""
    found: dict[str, float] = {}
    for callers, told in by_callers.items():
        p50, p95 = np.quantile(told.took_ms, [0.5, 0.95])
        found |= {f"p50_c{callers}_ms": round(float(p50), 2), f"p95_c{callers}_ms": round(float(p95), 2)}
    everything = list(by_callers.values())
    found["requests"] = sum(len(told.answer) for told in everything)
    found["told_before"] = sum(
        told.webhook.get(each, float("inf")) <= at for told in everything for each, at in told.answer.items()
    )
    found["undelivered"] = sum(told.undelivered for told in everything)
    return found


async def _measured(backing: Backing, requests: int, say: Callable[[str], object]) -> dict[str, float]:
    rows = [
        body
        for body, answer in zip(questions(backing.network), backing.network.answers, strict=True)
        if answer >= THRESHOLD
    ]
    told = {callers: Told() for callers in CALLERS}
    heard: dict[str, float] = {}
    runner, port = await _webhook(heard)
    gateway = Gateway(backing, more={"WEBHOOKS": json.dumps({WEBHOOK: f"http://127.0.0.1:{port}/"})})
    try:
        await asyncio.to_thread(gateway.start)
        async with aiohttp.ClientSession(headers=gateway.headers, trust_env=False) as session:
            await _asked(session, gateway.url, rows, WARM_UP, 1, Told())
            for callers in CALLERS:
                say(f"{requests} emergencies, {callers} at once")
                await _asked(session, gateway.url, rows, requests, callers, told[callers])
    finally:
        await asyncio.to_thread(gateway.stop)
        await runner.cleanup()
    for each in told.values():
        each.webhook = heard
    return summary(told)


async def _webhook(heard: dict[str, float]) -> tuple[web.AppRunner, int]:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        heard.setdefault(request.headers["Idempotency-Key"], time.perf_counter())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def _asked(
    session: aiohttp.ClientSession, url: str, rows: list[bytes], requests: int, callers: int, told: Told
) -> None:
    numbers = count()

    async def caller() -> None:
        while (number := next(numbers)) < requests:
            start = time.perf_counter()
            async with session.post(
                url + PREDICT,
                data=rows[number % len(rows)],
                headers={"Content-Type": "application/json"},
            ) as reply:
                answer = await reply.json()
            end = time.perf_counter()
            if reply.status != 200 or answer["escalation"] is None:
                raise Unescalated(reply.status, answer.get("escalation"))
            told.took_ms.append((end - start) * 1000)
            told.answer[answer["request_id"]] = end
            told.undelivered += answer["escalation"] != "delivered"

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())


@contextmanager
def _home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="mt-escalate-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
