"""No answer without its record: what the caller gets when the disk does not keep it, and what survives a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.fixtures.ports import free_port
from tests.gateway.conftest import DIGESTS, FEATURES, KEY, Gateway, publish
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.adapters import spool_tables
from medtower.adapters.spool import Spool
from medtower.errors import RecordUnavailable
from medtower.gateway.recording.record import Record
from medtower.gateway.serve import listen
from medtower.settings import Settings


@pytest.fixture
def full_gateway(gateway: Gateway, tmp_path: Path) -> Iterator[tuple[Gateway, list[int]]]:
    """A gateway whose spool may have `pages[0]` pages of 4 KiB."""
    pages = [100_000]

    def connect(path: Path) -> sqlite3.Connection:
        connection = spool_tables.connect(path)
        connection.execute(f"PRAGMA max_page_count={pages[0]}")
        return connection

    spool = Spool(tmp_path / "small" / "predictions.sqlite", connect=connect)
    whole = gateway.app.state.parts
    gateway.app.state.parts = replace(whole, record=Record(spool))
    yield gateway, pages
    gateway.app.state.parts = whole
    spool.close()


def fill(gateway: Gateway, pages: list[int]) -> httpx.Response:
    """Take the room away and ask until there is none left."""
    spool = gateway.app.state.parts.record.spool
    spool._submit(lambda connection: connection.execute("PRAGMA max_page_count=1")).result(5)
    pages[0] = 1
    for _ in range(100):
        answer = gateway.ask()
        if answer.status_code != 200:
            return answer
    raise AssertionError("the spool never filled up")


def test_03_on_a_full_disk_the_prediction_is_withheld(full_gateway: tuple[Gateway, list[int]]) -> None:
    gateway, pages = full_gateway
    refused = fill(gateway, pages)
    assert (refused.status_code, refused.json()["error"]) == (503, "LOG_UNAVAILABLE")
    assert int(refused.headers["retry-after"]) > 0
    assert "0.75" not in refused.text
    answered = gateway.metric('medtower_predictions_total{model="demo_risk",version="1"}')
    assert answered == gateway.metric("medtower_spool_depth") == len(gateway.recorded())
    outcome = {"request_id": "r1", "model": "demo_risk", "value": 1, "observed_at": "2026-01-31T09:30:00Z"}
    assert gateway.http.post("/api/v1/ml/outcomes", json=[outcome] * 500).status_code == 503


def test_when_there_is_room_again_it_answers_again(full_gateway: tuple[Gateway, list[int]]) -> None:
    gateway, pages = full_gateway
    fill(gateway, pages)
    pages[0] = 100_000
    assert gateway.ask(request_id="again").status_code == 200
    assert gateway.recorded()[-1].request_id == "again"
    assert gateway.metric("medtower_spool_writable") == 1


def test_a_breaker_that_opened_on_a_full_disk_is_on_record_when_there_is_room_again(
    full_gateway: tuple[Gateway, list[int]],
) -> None:
    gateway, pages = full_gateway
    gateway.publish(demo_risk={1: 1e-6, 2: 100 - 1e-6})
    fill(gateway, pages)
    gateway.triton.faults[2] = "nan"
    assert {gateway.ask(subject_id=f"s{n}").status_code for n in range(3)} == {503}
    spool = gateway.app.state.parts.record.spool
    assert spool.opened() == set()
    pages[0] = 100_000
    assert gateway.ask(request_id="again").json()["version"] == 1
    wait_until(lambda: spool.opened() == {("demo_risk", 2, DIGESTS[2])})
    assert [f.opened for f in gateway.failures()] == [True]


def test_a_disk_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "predictions.sqlite")
    entered, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        entered.set()
        assert release.wait(5)

    spool._submit(hold)
    assert entered.wait(5)
    with pytest.raises(RecordUnavailable, match=r"within 0\.05 s"):
        asyncio.run(Record(spool, deadline=0.05).probe())
    release.set()
    spool.close()


@contextmanager
def process(settings: Settings, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m medtower.gateway.serve` as a tower runs it, from health to the end of the block."""
    environment = os.environ | {
        "MEDTOWER_HOME": str(settings.home),
        "MEDTOWER_TRITON_URL": settings.triton_url,
        "MEDTOWER_GATEWAY_KEY": KEY,
        "MEDTOWER_SUBJECT_KEY": "key-of-the-pseudonyms",
        "MEDTOWER_GATEWAY_PORT": str(port),
        "MEDTOWER_DSN": "",
    }
    with log.open("ab") as file:
        running = subprocess.Popen(
            [sys.executable, "-m", "medtower.gateway.serve"], env=environment, stderr=file, stdout=file
        )
    try:
        wait_until(lambda: healthy(port) or running.poll() is not None, 30)
        assert running.poll() is None, log.read_text()
        yield running
    finally:
        running.kill()
        running.wait(10)


def healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


def ask_until_it_dies(port: int, name: str, acknowledged: list[str]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": KEY}) as http:
        try:
            for n in range(100_000):
                # every other one has an id of the gateway's own: those go to the disk another way
                chosen = {"request_id": f"{name}.{n}"} if n % 2 else {}
                question = {"subject_id": f"s{n}", "features": FEATURES} | chosen
                answer = http.post("/api/v1/ml/predict/demo_risk", json=question)
                if answer.status_code == 200:
                    acknowledged.append(answer.json()["request_id"])
        except httpx.HTTPError:
            return


def test_02_after_a_kill_no_acknowledged_prediction_is_missing(
    settings: Settings, triton: FakeTriton
) -> None:
    publish(settings, demo_risk={1: 100})
    port, acknowledged = free_port(), []
    for kill in range(3):
        with process(settings, port, settings.home / "log") as running:
            enough = len(acknowledged) + 60
            callers = [
                threading.Thread(target=ask_until_it_dies, args=(port, f"{kill}.{n}", acknowledged))
                for n in range(6)
            ]
            for caller in callers:
                caller.start()
            wait_until(lambda n=enough: len(acknowledged) >= n, 20)
            running.send_signal(signal.SIGKILL)
            for caller in callers:
                caller.join()
    spool = Spool(settings.path("spool"))
    stored = [w.item.request_id for w in spool.waiting(100_000)]  # type: ignore[union-attr]
    spool.close()
    assert len(acknowledged) >= 180
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


def upgrade(port: int, path: str) -> str:
    """Ask for a WebSocket at `path` and return what comes back."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(head.encode())
        return connection.recv(4096).decode()


def test_planted_strings_are_in_no_log_no_answer_no_metric_and_no_file(
    settings: Settings, triton: FakeTriton
) -> None:
    publish(settings, demo_risk={1: 100})
    canary, port, log = "Zaphod-4711", free_port(), settings.home / "log"
    seen: list[str] = []
    with process(settings, port, log) as running:
        base = f"http://127.0.0.1:{port}"
        ask = f"{base}/api/v1/ml/predict/demo_risk"
        key = {"X-API-Key": KEY}
        good = {"request_id": "r1", "subject_id": canary, "features": FEATURES | {"age": 47.1147}}
        bodies = [
            good,
            good | {"subject_id": f"{canary}-2"},
            good | {"request_id": f"id {canary}"},
            good | {canary: canary},
            good | {"features": FEATURES | {canary: canary}},
            good | {"features": FEATURES | {"age": canary, "sex": canary}},
            [canary],
        ]
        with httpx.Client(headers=key) as http:
            seen += [http.post(ask, json=body).text for body in bodies]
            seen += [http.post(ask, content=f'{{"subject_id": "{canary}", NaN').text]
            triton.fault = "nan"
            seen += [http.post(ask, json=good | {"request_id": "r2"}).text]
            seen += [http.get(f"{base}/{canary}?{canary}={canary}", headers={canary: canary}).text]
            seen += [http.post(f"{base}/api/v1/ml/predict/{canary}", json=good).text]
            seen += [http.post(f"{base}/api/v1/ml/outcomes", json={canary: canary}).text]
            seen += [http.get(f"{base}/{path}").text for path in ("metrics", "openapi.json", "health/ready")]
            seen += [http.get(f"{base}/api/v1/ml/models", headers={"X-API-Key": canary}).text]
        seen += [upgrade(port, f"/api/v1/ml/predict/{canary}?{canary}={canary}")]
        running.send_signal(signal.SIGTERM)
        assert running.wait(15) == -signal.SIGTERM
    assert '"prediction":0.75' in seen[0]
    lines = log.read_text()
    assert '"code": 502' in lines
    assert all(json.loads(line)["level"] for line in lines.splitlines())
    for text in [*seen, lines]:
        assert canary not in text
        assert "47.11" not in text
    files = list(settings.path("spool").parent.iterdir())
    assert files
    assert not any(canary.encode() in file.read_bytes() for file in files)


def test_a_term_signal_lets_requests_in_flight_finish(settings: Settings, triton: FakeTriton) -> None:
    publish(settings, demo_risk={1: 100})
    port, answers = free_port(), []
    entered, release = threading.Event(), threading.Event()
    question = {"request_id": "r1", "subject_id": "s", "features": FEATURES}

    def slow(_: int) -> None:
        entered.set()
        assert release.wait(5)

    triton.before = slow
    with process(settings, port, settings.home / "log") as running:
        caller = threading.Thread(
            target=lambda: answers.append(
                httpx.post(
                    f"http://127.0.0.1:{port}/api/v1/ml/predict/demo_risk",
                    json=question,
                    headers={"X-API-Key": KEY},
                ).status_code
            )
        )
        caller.start()
        assert entered.wait(5)
        running.send_signal(signal.SIGTERM)
        wait_until(lambda: not healthy(port))
        release.set()
        caller.join()
        assert running.wait(15) == -signal.SIGTERM
    assert answers == [200]


def test_a_port_in_use_ends_in_one_clear_line(settings: Settings, triton: FakeTriton) -> None:
    with listen(0) as taken:
        log = settings.home / "log"
        with pytest.raises(AssertionError), process(settings, taken.getsockname()[1], log) as running:
            raise RuntimeError(running)
        (line,) = [entry for entry in log.read_text().splitlines() if '"error"' in entry]
    assert "is in use" in json.loads(line)["message"]
