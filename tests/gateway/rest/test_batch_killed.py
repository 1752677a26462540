"""A real gateway process is killed in the middle of a job, twice: the job goes on, and every row is answered and on record once."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.fixtures.ports import free_port
from tests.gateway.conftest import KEY, publish
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.rest.test_batch import GOOD, table
from tests.gateway.server import wait_until

from medtower.adapters.spool import Spool
from medtower.domain.prediction import Prediction
from medtower.gateway.rest.batch.journal import Journal
from medtower.settings import Settings

ROWS = 2500


@contextmanager
def process(settings: Settings, port: int) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDTOWER_")} | {
        "MEDTOWER_HOME": str(settings.home),
        "MEDTOWER_TRITON_URL": settings.triton_url,
        "MEDTOWER_GATEWAY_PORT": str(port),
        "MEDTOWER_SUBJECT_KEY": settings.subject_key.get_secret_value(),
        "MEDTOWER_GATEWAY_KEY": KEY,
    }
    with (settings.home / "log").open("ab") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "medtower.gateway.serve"], env=environment, stderr=log
        )
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": KEY}, timeout=10
        ) as http:
            wait_until(lambda: running.poll() is not None or _lives(http), 60)
            yield running, http
    finally:
        if running.poll() is None:
            running.terminate()
        running.wait(30)


def _lives(http: httpx.Client) -> bool:
    try:
        return http.get("/health/live").status_code == 200
    except httpx.HTTPError:
        return False


def test_every_row_once_whenever_it_is_killed(settings: Settings, triton: FakeTriton) -> None:
    publish(settings, demo_risk={1: 100})
    port, path = free_port(), "/api/v1/ml/batch"
    content = table(*(GOOD.format(n=n) for n in range(ROWS)))
    with process(settings, port) as (running, http):
        job = http.post(
            f"{path}?model=demo_risk", content=content, headers={"Content-Type": "text/csv"}
        ).json()["id"]
        wait_until(lambda: http.get(f"{path}/{job}").json()["done"] > 200, 60)
        running.send_signal(signal.SIGKILL)
    journal = settings.path("batch") / job / "journal"
    before = journal.read_bytes().count(b"\n")
    assert 200 < before < ROWS
    with journal.open("ab") as file:  # as a write that was cut in the middle leaves it
        file.write(b'{"row":%d,"request' % (before + 1))
    with process(settings, port) as (running, http):
        wait_until(lambda: http.get(f"{path}/{job}").json()["done"] > before + 200, 60)
        running.send_signal(signal.SIGKILL)
    with process(settings, port) as (running, http):
        wait_until(lambda: http.get(f"{path}/{job}").json()["state"] == "done", 120)
        status = http.get(f"{path}/{job}").json()
        rows = list(csv.DictReader(io.StringIO(http.get(f"{path}/{job}/result").text)))
    assert (status["done"], status["failed"]) == (ROWS, {})
    assert [int(row["row"]) for row in rows] == list(range(1, ROWS + 1))
    assert {row["prediction"] for row in rows} == {"0.75"}
    spool = Spool(settings.path("spool"))
    kept = [w.item.request_id for w in spool.waiting(3 * ROWS) if isinstance(w.item, Prediction)]
    spool.close()
    assert sorted(kept) == sorted(f"{job}.{n}" for n in range(1, ROWS + 1))


def test_a_torn_tail_is_cut_and_what_is_whole_stays(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.open()
    journal.append([{"row": 1}, {"row": 2, "error": "age: is required"}])
    journal.close()
    whole = path.read_bytes()
    for tail in (b"{", b'{"row":3}', b'{"row":4}\n', b"\0\0\0\n", b'{"row":3\n{"row":4}\n', b"[]\n"):
        path.write_bytes(whole + tail)
        journal = Journal(path)
        journal.open()
        assert (journal.rows, journal.failed) == (2, {"age: is required": 1})
        journal.append([{"row": 3}])
        journal.close()
        assert path.read_bytes() == whole + b'{"row":3}\n'
