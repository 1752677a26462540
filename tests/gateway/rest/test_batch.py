"""Batch jobs: every row once, bad rows by themselves, and nothing for anybody else."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.gateway.conftest import Gateway, grant, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway.rest.batch import runner
from medtower.gateway.rest.batch.job import Jobs
from medtower.settings import Settings

BATCH = "/api/v1/ml/batch"
HEADER = "subject_id,age,sex,visits,smoker,marker"
GOOD = "s{n},70.5,M,3,true,"
CANARY = "Zaphod-4711"


def table(*rows: str, header: str = HEADER) -> bytes:
    return "\r\n".join([header, *rows]).encode()


def send(
    gateway: Gateway, content: bytes, kind: str = "text/csv", model: str = "demo_risk", **headers: str
) -> httpx.Response:
    return gateway.http.post(
        BATCH, params={"model": model}, content=content, headers={"Content-Type": kind, **headers}
    )


def ended(gateway: Gateway, identity: str) -> dict[str, Any]:
    wait_until(lambda: status(gateway, identity)["state"] not in ("waiting", "running"), 60)
    return status(gateway, identity)


def status(gateway: Gateway, identity: str) -> dict[str, Any]:
    return dict(gateway.http.get(f"{BATCH}/{identity}").json())


def result(gateway: Gateway, identity: str) -> list[dict[str, str]]:
    answer = gateway.http.get(f"{BATCH}/{identity}/result")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def run(gateway: Gateway, content: bytes, kind: str = "text/csv") -> dict[str, Any]:
    answer = send(gateway, content, kind)
    assert answer.status_code == 202
    return ended(gateway, answer.json()["id"])


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


COLUMNS = {
    "subject_id": ["a", "b", "c"], "age": [70.5, 17.0, 50.0], "sex": ["M", "F", "F"], "visits": [3, 3, 3], "smoker": [True, False, True],
    "marker": [None, 1.0, float("nan")],
}  # fmt: skip


def test_every_row_of_a_csv_file_gets_its_answer_and_is_on_record(gateway: Gateway) -> None:
    first = send(gateway, table(*(GOOD.format(n=n) for n in range(100))))
    assert first.status_code == 202
    assert (first.json()["state"], first.json()["disclaimer"]) == ("waiting", DISCLAIMER)
    job = ended(gateway, first.json()["id"])
    assert (job["state"], job["rows"], job["done"], job["failed"]) == ("done", 100, 100, {})
    rows = result(gateway, job["id"])
    assert [row["row"] for row in rows] == [str(n) for n in range(1, 101)]
    assert rows[0]["request_id"] == f"{job['id']}.1"
    assert {(row["prediction"], row["version"], row["label"], row["error"]) for row in rows} == {
        ("0.75", "1", "event", "")
    }
    assert {row["disclaimer"] for row in rows} == {DISCLAIMER}
    kept = [p for p in gateway.recorded() if p.request_id.startswith(job["id"])]
    assert sorted(int(p.request_id.rsplit(".")[1]) for p in kept) == list(range(1, 101))
    assert {p.caller for p in kept} == {"clients"}


def test_a_bad_row_is_told_by_field_and_rule_and_the_others_go_on(gateway: Gateway) -> None:
    job = run(
        gateway,
        table(
            "s1,70.5,M,3,true,1e3",
            f"s2,{CANARY},M,3,true,",
            f"s3,70.5,{CANARY},3,true,",
            "s4,1e999,M,3,true,",
            "s5,70.5,M,2.5,true,",
            ",70.5,M,3,true,",
            "s7,70.5,M,3",
            f's8,70.5,"M"{CANARY},3,true,',
            "s9,70.5,M,3,TRUE,NaN",
            "",
            "s10,,M,3,false,0",
            "s11,1_8,M,3,1,0",
            "s\ud80012,18,M,3,1,0".replace("\ud800", "\0"),
            "s13,18,F,0,False,0",
        ),
    )
    rows = result(gateway, job["id"])
    assert [row["error"].partition(":")[0] for row in rows] == [
        "", "age", "sex", "age", "visits", "subject_id", "row", "row", "marker", "age", "age", "subject_id", "",
    ]  # fmt: skip
    assert (job["done"], sum(job["failed"].values())) == (13, 11)
    assert CANARY not in json.dumps(job) + json.dumps(rows)


def test_bytes_that_are_not_text_spoil_their_row_only(gateway: Gateway) -> None:
    job = run(
        gateway, table(GOOD.format(n=1), "who,70.5,M,3,true,", GOOD.format(n=3)).replace(b"who", b"\xff\xfe")
    )
    assert [bool(row["error"]) for row in result(gateway, job["id"])] == [False, True, False]


def test_a_parquet_file_is_answered_as_one(gateway: Gateway) -> None:
    job = run(gateway, parquet(COLUMNS), "application/vnd.apache.parquet")
    assert (job["state"], job["rows"], job["failed"]) == ("done", 3, {"age: must be in [18, 110] a": 1})
    answer = gateway.http.get(f"{BATCH}/{job['id']}/result")
    assert answer.headers["Content-Type"] == "application/vnd.apache.parquet"
    found = pq.read_table(io.BytesIO(answer.content)).to_pydict()
    assert found["row"] == [1, 2, 3]
    assert found["prediction"] == [0.75, None, 0.75]
    assert found["error"] == [None, "age: must be in [18, 110] a", None]
    assert set(found["disclaimer"]) == {DISCLAIMER}
    assert [p.features[4] for p in gateway.recorded()] == [None, None]  # a missing marker, and NaN


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"", "text/csv", "header: is missing"),
        (table("1", header=HEADER + f",{CANARY}"), "text/csv", "column 7: is neither"),
        (table("1", header="subject_id,age,age"), "text/csv", "header: names a column twice"),
        (table("1", header="subject_id,age"), "text/csv", "sex: is required"),
        (table("1", header="age,sex,visits,smoker"), "text/csv", "subject_id: is required"),
        (b'"' + b"x" * 200_000, "text/csv", "header: is not a line"),
        (b"Zaphod-4711", "application/vnd.apache.parquet", "body: is not a Parquet file"),
        (b"PAR1" + b"\xff" * 100 + b"PAR1", "application/vnd.apache.parquet", "body: is not a Parquet file"),
        (parquet(COLUMNS)[:-200] + b"PAR1", "application/x-parquet", "body: is not a Parquet file"),
        (parquet(COLUMNS | {CANARY: [1, 2, 3]}), "application/x-parquet", "column 7: is neither"),
        (parquet(COLUMNS | {"age": [{"a": 1}] * 3}), "application/x-parquet", "age: is a column of a type"),
        (parquet(COLUMNS | {"age": [b"1"] * 3}), "application/x-parquet", "age: is a column of a type"),
        (table(*["s,70.5,M,3,true,"] * 1001), "text/csv", "body: must not have more than 1000 rows"),
        (
            parquet({k: v * 400 for k, v in COLUMNS.items()}),
            "application/x-parquet",
            "body: must not have more than 1000 rows",
        ),
    ],
)
def test_a_file_that_is_not_one_is_refused_whole(
    limited: Gateway, content: bytes, kind: str, problem: str
) -> None:
    job = run(limited, content, kind)
    assert (job["state"], job["done"]) == ("failed", 0)
    assert job["problem"].startswith(problem)
    assert CANARY not in json.dumps(job)
    assert limited.http.get(f"{BATCH}/{job['id']}/result").status_code == 409
    folder = limited.settings.path("batch") / job["id"]
    wait_until(lambda: names(folder) == ["job.json"])


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS | {"subject_id": ["x" * 3_000_000] * 3},
        {name: values * 30 for name, values in (COLUMNS | {"sex": ["y" * 200_000] * 3}).items()},
    ],
)
def test_a_small_parquet_file_that_unpacks_to_much_is_refused(
    limited: Gateway, columns: dict[str, Any]
) -> None:
    content = parquet(columns, compression="zstd")
    assert len(content) < 64 * 1024
    assert ended(limited, send(limited, content, "application/x-parquet").json()["id"])["state"] == "failed"


@pytest.fixture
def limited(settings: Settings, triton: FakeTriton) -> Iterator[Gateway]:
    """A gateway that takes small files only."""
    small = settings.model_copy(update={"batch_bytes": 256 * 1024, "batch_rows": 1000})
    with started(small, triton) as gateway:
        yield gateway


def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(limited: Gateway) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b" " * 4096

    assert send(limited, b" " * 300_000).status_code == 413
    answers = []
    with contextlib.suppress(httpx.HTTPError):  # the connection may be closed while the client still writes
        path = f"{BATCH}?model=demo_risk"
        answers.append(limited.http.post(path, content=endless(), headers={"Content-Type": "text/csv"}))
    assert [answer.status_code for answer in answers] in ([], [413])
    wait_until(lambda: not list(limited.settings.path("batch").iterdir()))


@pytest.mark.parametrize(
    ("params", "headers", "status"),
    [
        ({"model": "demo_risk"}, {"Content-Type": "application/json"}, 415),
        ({"model": "demo_risk"}, {}, 415),
        ({"model": "demo_risk"}, {"Content-Type": "text/csv", "Content-Encoding": "gzip"}, 415),
        ({"model": "demo_rusk"}, {"Content-Type": "text/csv"}, 404),
        ({}, {"Content-Type": "text/csv"}, 422),
    ],
)
def test_what_is_no_question_is_refused(
    gateway: Gateway, params: dict[str, str], headers: dict[str, str], status: int
) -> None:
    assert gateway.http.post(BATCH, params=params, content=b"x", headers=headers).status_code == status


def test_only_who_sent_it_sees_a_job_and_the_administrator(gateway: Gateway) -> None:
    for name in ("lab", "other"):
        grant(gateway.settings, name, f"key-of-{name}", "service")
    grant(gateway.settings, "ward", "key-of-ward", "clinician")
    lab, other, ward = ({"X-API-Key": f"key-of-{name}"} for name in ("lab", "other", "ward"))
    job = send(gateway, table(GOOD.format(n=1)), **lab).json()["id"]
    ended(gateway, job)  # asked as the administrator
    for path in (f"{BATCH}/{job}", f"{BATCH}/{job}/result"):
        assert gateway.http.get(path, headers=lab).status_code == 200
        assert gateway.http.get(path, headers=other).status_code == 404
        assert gateway.http.get(path, headers=ward).status_code == 403
        assert httpx.get(gateway.url + path).status_code == 401
    assert gateway.http.delete(f"{BATCH}/{job}", headers=other).status_code == 404
    unknown = gateway.http.get(f"{BATCH}/{'0' * 32}", headers=lab).json()["message"]
    assert gateway.http.get(f"{BATCH}/{job}", headers=other).json()["message"] == unknown
    assert gateway.http.get(f"{BATCH}/..%2f{job}", headers=lab).status_code == 404


def test_its_files_are_the_gateways_alone_and_the_upload_goes_when_it_was_read(gateway: Gateway) -> None:
    gateway.triton.fault = "503"
    identity = send(gateway, table(GOOD.format(n=CANARY))).json()["id"]
    folder = gateway.settings.path("batch") / identity
    wait_until(lambda: (folder / "journal").exists())
    assert not (folder / "upload").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    gateway.triton.fault = ""
    ended(gateway, identity)
    wait_until(lambda: names(folder) == ["job.json", "result"])
    assert CANARY.encode() not in b"".join(file.read_bytes() for file in folder.iterdir())


def test_it_waits_while_triton_is_down_and_says_so(gateway: Gateway) -> None:
    gateway.triton.fault = "503"
    identity = send(gateway, table(*(GOOD.format(n=n) for n in range(10)))).json()["id"]
    wait_until(lambda: status(gateway, identity)["waiting_for"])
    assert status(gateway, identity)["state"] == "running"
    gateway.triton.fault = ""
    job = ended(gateway, identity)
    assert (job["state"], job["done"], job["failed"], job["waiting_for"]) == ("done", 10, {}, None)


def test_a_job_that_cannot_go_on_lets_the_next_one_pass(gateway: Gateway) -> None:
    gateway.triton.faults = {2: "503"}
    held = send(gateway, table("s,70.5", header="subject_id,age"), model="demo_score").json()["id"]
    wait_until(lambda: status(gateway, held)["waiting_for"])
    assert run(gateway, table(GOOD.format(n=1)))["state"] == "done"
    assert status(gateway, held)["state"] == "running"
    gateway.triton.faults = {}
    assert ended(gateway, held)["done"] == 1


def test_nonsense_of_the_model_is_the_rows_error(gateway: Gateway) -> None:
    gateway.triton.fault = "nan"
    job = run(gateway, table(GOOD.format(n=1)))
    assert list(job["failed"].values()) == [1]
    assert "finite" in result(gateway, job["id"])[0]["error"]


def test_a_cancelled_job_ends_and_its_files_go(gateway: Gateway) -> None:
    gateway.triton.fault = "503"
    identity = send(gateway, table(*(GOOD.format(n=n) for n in range(10)))).json()["id"]
    wait_until(lambda: status(gateway, identity)["waiting_for"])
    assert gateway.http.delete(f"{BATCH}/{identity}").json()["state"] == "cancelled"
    gateway.triton.fault = ""
    other = run(gateway, table(GOOD.format(n=1)))
    assert other["state"] == "done"
    assert status(gateway, identity)["state"] == "cancelled"
    folder = gateway.settings.path("batch") / identity
    wait_until(lambda: names(folder) == ["job.json"])
    assert gateway.http.delete(f"{BATCH}/{other['id']}").json()["state"] == "deleted"
    assert gateway.http.get(f"{BATCH}/{other['id']}/result").status_code == 409


def test_a_caller_has_few_jobs_at_a_time(gateway: Gateway) -> None:
    gateway.triton.fault = "503"
    jobs = [send(gateway, table(GOOD.format(n=n))) for n in range(5)]
    assert [answer.status_code for answer in jobs] == [202] * 4 + [429]
    assert int(jobs[4].headers["Retry-After"]) > 0


def test_a_disk_without_room_takes_no_job(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.app.state.batch.jobs, "free", lambda: 1 << 20)
    answer = send(gateway, table(GOOD.format(n=1)))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


def test_rows_wait_while_live_requests_do(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, looks = 10, 0

    def depth() -> int:
        nonlocal looks
        looks += 1
        return waiting

    monkeypatch.setattr(gateway.app.state.parts.triton.batches, "depth", depth)
    monkeypatch.setattr(runner, "PATIENCE", 60.0)
    identity = send(gateway, table(*(GOOD.format(n=n) for n in range(10)))).json()["id"]
    wait_until(lambda: looks > 20)
    assert gateway.ask().status_code == 200
    assert (status(gateway, identity)["done"], len(gateway.triton.rows)) == (0, 1)
    waiting = 0
    assert ended(gateway, identity)["done"] == 10


def test_never_more_than_a_few_rows_are_on_their_way(gateway: Gateway) -> None:
    run(gateway, table(*(GOOD.format(n=n) for n in range(100))))
    assert max(gateway.triton.batches) <= 8


def test_a_job_is_forgotten_when_its_time_is_over(
    gateway: Gateway, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = run(gateway, table(GOOD.format(n=1)))
    expires = datetime.fromisoformat(job["expires_at"])
    assert expires - datetime.fromisoformat(job["submitted_at"]) == timedelta(days=settings.batch_days)
    jobs: Jobs = gateway.app.state.batch.jobs
    assert jobs.forget(expires - timedelta(seconds=1)) == []
    monkeypatch.setattr(jobs, "expires", lambda _: datetime(2020, 1, 1, tzinfo=UTC))
    gateway.app.state.batch.wake()
    wait_until(lambda: not (settings.path("batch") / job["id"]).exists())
    assert gateway.http.get(f"{BATCH}/{job['id']}").status_code == 404


def test_a_job_whose_time_is_over_before_it_is_done_ends(gateway: Gateway) -> None:
    gateway.triton.fault = "503"
    identity = send(gateway, table(GOOD.format(n=1))).json()["id"]
    wait_until(lambda: status(gateway, identity)["waiting_for"])
    gateway.app.state.batch.jobs.get(identity).submitted_at = datetime(2020, 1, 1, tzinfo=UTC)
    wait_until(lambda: not (gateway.settings.path("batch") / identity).exists())
    assert gateway.http.get(f"{BATCH}/{identity}").status_code == 404


def test_the_process_that_reads_files_has_no_secret(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    real = subprocess.run

    def watched(command: Any, **options: Any) -> Any:
        seen.append({"command": command, **options})
        return real(command, **options)

    monkeypatch.setenv("MEDTOWER_SUBJECT_KEY", "key-of-the-pseudonyms")
    monkeypatch.setattr(subprocess, "run", watched)
    run(gateway, table(GOOD.format(n=1)))
    assert len(seen) == 2
    for call in seen:
        assert call["command"][0] == sys.executable
        assert not [name for name in call["env"] if name.startswith("MEDTOWER")]
        assert b"key" not in call["input"]


def test_an_upload_that_was_cut_off_is_removed_at_the_next_start(tmp_path: Path) -> None:
    draft = Jobs(tmp_path / "batch", 7).draft()
    draft.upload.write_bytes(b"half")
    Jobs(tmp_path / "batch", 7)
    assert not draft.path.exists()
