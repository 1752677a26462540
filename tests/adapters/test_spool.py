from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from medtower.adapters import spool_outbox, spool_tables
from medtower.adapters.spool import Spool
from medtower.adapters.spool_work import Kept
from medtower.domain.prediction import Failure, Outcome, Prediction, Shadowed
from medtower.errors import Conflict, RecordUnavailable

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def prediction(request_id: str, body: str = "body") -> Prediction:
    return Prediction(
        request_id=request_id,
        model="demo_risk",
        version=1,
        digest="a" * 64,
        arm="champion",
        subject="f" * 64,
        event_time=AT,
        received_at=AT,
        features=[1.5, None],
        prediction=0.25,
        confidence=0.75,
        requires_human_review=False,
        latency_ms=0.4,
        body_sha256=body,
    )


def outcome(request_id: str) -> Outcome:
    return Outcome(request_id=request_id, model="demo_risk", value=1, observed_at=AT, arrived_at=AT)


def failure(opened: bool = False) -> Failure:
    return Failure(
        request_id="r1",
        model="demo_risk",
        version=2,
        digest="b" * 64,
        arm="candidate",
        subject="f" * 64,
        event_time=AT,
        received_at=AT,
        code=502,
        latency_ms=0.5,
        opened=opened,
    )


def shadowed() -> Shadowed:
    return Shadowed(
        request_id="r1",
        model="demo_risk",
        version=2,
        digest="b" * 64,
        subject="f" * 64,
        event_time=AT,
        received_at=AT,
        prediction=None,
        latency_ms=0.5,
        current_version=1,
        current_prediction=0.25,
        current_latency_ms=0.4,
        disagrees=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "predictions.sqlite"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    spool = Spool(path)
    yield spool
    spool.close()


def keep(spool: Spool, *ids: str) -> None:
    for future in [spool.record(prediction(i), f'{{"id": "{i}"}}') for i in ids]:
        assert future.result(5).fresh


def test_a_commit_waits_for_the_disk(path: Path, spool: Spool) -> None:
    connection = spool_tables.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()
    assert path.stat().st_mode & 0o077 == 0


def test_what_was_recorded_is_there_after_a_restart(path: Path, spool: Spool) -> None:
    keep(spool, "r1", "r2")
    spool.record_outcomes([outcome("r1")]).result(5)
    spool.close()
    again = Spool(path)
    assert [w.item for w in again.waiting(10)] == [prediction("r1"), prediction("r2"), outcome("r1")]
    assert again.answer("r2", "body") == '{"id": "r2"}'
    assert again.depth()[0] == 3
    again.close()


def test_the_same_request_is_kept_once_and_answered_the_same(spool: Spool) -> None:
    keep(spool, "r1")
    second = spool.record(prediction("r1"), "another answer").result(5)
    assert (second.answer, second.fresh) == ('{"id": "r1"}', False)
    assert spool.depth()[0] == 1


def test_07_the_same_request_id_with_another_body_is_a_conflict_for_it_alone(spool: Spool) -> None:
    keep(spool, "r1")
    bad, good = spool.record(prediction("r1", "other"), "{}"), spool.record(prediction("r2"), "{}")
    with pytest.raises(Conflict, match="send a new request_id"):
        bad.result(5)
    assert good.result(5).fresh
    with pytest.raises(Conflict):
        spool.answer("r1", "other")
    assert spool.answer("r3", "body") is None


def test_requests_that_wait_together_share_one_commit(path: Path) -> None:
    commits: list[str] = []

    def traced(where: Path) -> sqlite3.Connection:
        connection = spool_tables.connect(where)
        connection.set_trace_callback(lambda s: commits.append(s) if s == "COMMIT" else None)
        return connection

    spool = Spool(path, connect=traced)
    entered, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        entered.set()
        assert release.wait(5)

    held = spool._submit(hold)
    assert entered.wait(5)
    waiting = [spool.record(prediction(f"r{n}"), "{}") for n in range(100)]
    release.set()
    held.result(5)
    assert all(f.result(5).fresh for f in waiting)
    spool.close()
    assert len(commits) == 2


def test_whoever_stopped_waiting_is_not_recorded(spool: Spool) -> None:
    entered, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        entered.set()
        assert release.wait(5)

    held = spool._submit(hold)
    assert entered.wait(5)
    given_up = spool.record(prediction("r1"), "{}")
    assert given_up.cancel()
    release.set()
    held.result(5)
    keep(spool, "r2")
    assert [w.item for w in spool.waiting(10)] == [prediction("r2")]


def test_shipped_rows_leave_and_the_last_answers_stay(path: Path) -> None:
    spool = Spool(path, keep=2)
    keep(spool, "r1", "r2", "r3", "r4")
    third = spool.waiting(3)[-1].sequence
    spool.dropped(third).result(5)
    assert [w.item for w in spool.waiting(10)] == [prediction("r4")]
    for gone in ("r1", "r2"):
        with pytest.raises(Conflict, match="is on record, but no longer kept"):
            spool.answer(gone, "body")
    assert spool.answer("r3", "body") == '{"id": "r3"}'
    spool.close()


def test_a_request_id_whose_answer_is_gone_is_never_recorded_a_second_time(path: Path) -> None:
    spool = Spool(path, keep=1)
    keep(spool, "r1", "r2", "r3")
    spool.dropped(spool.waiting(3)[-1].sequence).result(5)
    for again, said in (
        (prediction("r1", "other"), "used for another body"),
        (prediction("r1"), "on record"),
    ):
        with pytest.raises(Conflict, match=said):
            spool.record(again, "{}").result(5)
        with pytest.raises(Conflict, match=said):
            spool.answer("r1", again.body_sha256)
    assert spool.depth()[0] == 0
    keep(spool, "r4")
    spool.close()


def test_request_ids_are_forgotten_by_age_and_not_by_number(path: Path) -> None:
    spool = Spool(path, keep=1)
    keep(spool, *(f"r{n}" for n in range(50)))
    spool.dropped(spool.waiting(50)[-1].sequence).result(5)
    with pytest.raises(Conflict):
        spool.answer("r0", "body")
    older = (91 * 86_400,)
    age = "UPDATE used SET at = at - ? WHERE sequence <= 10"
    spool._submit(lambda connection: connection.execute(age, older)).result(5)
    keep(spool, "next")
    spool.dropped(spool.waiting(1)[0].sequence).result(5)
    assert spool.answer("r9", "body") is None
    with pytest.raises(Conflict):
        spool.answer("r10", "body")
    spool.close()


def test_a_spool_of_an_earlier_form_learns_its_request_ids(path: Path) -> None:
    spool = Spool(path, keep=1)
    keep(spool, "r1", "r2")
    spool._submit(lambda connection: connection.execute("DROP TABLE used")).result(5)
    spool.close()
    again = Spool(path, keep=1)
    again.dropped(again.waiting(2)[-1].sequence).result(5)
    with pytest.raises(Conflict, match="on record"):
        again.answer("r1", "body")
    again.close()


def test_rows_of_an_earlier_form_came_in_when_they_were_spooled(path: Path) -> None:
    spool = Spool(path)
    keep(spool, "r1")
    spool.note(failure(), shadowed()).result(5)
    spool.record_outcomes([outcome("r1")]).result(5)
    earlier = "UPDATE outbox SET content = json_remove(content, '$.received_at'), spooled_at = 1769851800.25"
    spool._submit(lambda connection: connection.execute(earlier)).result(5)
    spool.close()
    again = Spool(path)
    moment = AT + timedelta(seconds=0.25)
    expected = [structs.replace(i, received_at=moment) for i in (prediction("r1"), failure(), shadowed())]
    assert [w.item for w in again.waiting(10)] == [*expected, outcome("r1")]
    again.close()


def test_an_answer_is_never_forgotten_while_its_prediction_waits(path: Path) -> None:
    spool = Spool(path, keep=1)
    keep(spool, *(f"r{n}" for n in range(20)))
    spool.dropped(spool.waiting(1)[0].sequence).result(5)
    with pytest.raises(Conflict):
        spool.answer("r0", "body")
    assert all(spool.answer(f"r{n}", "body") for n in range(1, 20))
    spool.close()


def test_sequence_numbers_are_not_used_again_after_the_outbox_was_empty(spool: Spool) -> None:
    keep(spool, "r1")
    first = spool.waiting(1)[0].sequence
    spool.dropped(first).result(5)
    assert spool.depth() == (0, 0.0)
    keep(spool, "r2")
    assert spool.waiting(1)[0].sequence > first


def test_the_oldest_row_ages(spool: Spool) -> None:
    keep(spool, "r1")
    depth, oldest = spool.depth()
    assert depth == 1
    assert 0 <= oldest < 5


def test_a_full_spool_refuses_and_takes_again_when_there_is_room(path: Path) -> None:
    pages = [30]

    def small(where: Path) -> sqlite3.Connection:
        connection = spool_tables.connect(where)
        connection.execute(f"PRAGMA max_page_count={pages[0]}")
        return connection

    spool = Spool(path, connect=small)
    kept = 0
    with pytest.raises(RecordUnavailable, match="full"):
        for kept in range(1000):
            spool.record(prediction(f"r{kept}"), "x" * 500).result(5)
    assert spool.depth()[0] == kept
    assert spool.answer(f"r{kept}", "body") is None
    assert spool.failure
    pages[0] = 1000
    keep(spool, f"r{kept}")
    assert spool.failure is None
    assert spool.depth()[0] == kept + 1
    spool.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk_refuses_and_takes_again_when_there_is_room(small_disk: Path) -> None:
    spool = Spool(small_disk / "predictions.sqlite")
    keep(spool, "r1")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"\0" * 4096)
    with pytest.raises(RecordUnavailable):
        for n in range(200):
            spool.record(prediction(f"full{n}"), "x" * 4000).result(5)
    acknowledged = spool.depth()[0]
    filler.unlink()
    keep(spool, "r2")
    assert spool.depth()[0] == acknowledged + 1
    assert spool.answer("r1", "body")
    spool.close()


class _BrokenDisk(sqlite3.Connection):
    code = sqlite3.SQLITE_IOERR_FSYNC

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:  # type: ignore[override]
        if sql.startswith(("COMMIT", "INSERT INTO outbox")):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            raise error
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "write",
    [
        lambda spool: spool.record(prediction("r1"), "{}"),
        lambda spool: spool.append([("prediction", prediction("r1").json())]),
    ],
    ids=["with an id that may come again", "with one that cannot"],
)
def test_03_after_a_failed_fsync_nothing_is_tried_again(
    path: Path, write: Callable[[Spool], Future[object]]
) -> None:
    broken = [True]

    def connect(where: Path) -> sqlite3.Connection:
        if not broken[0]:
            return spool_tables.connect(where)
        return sqlite3.connect(where, isolation_level=None, check_same_thread=False, factory=_BrokenDisk)

    spool = Spool(path, connect=connect)
    with pytest.raises(RecordUnavailable, match="disk I/O error"):
        write(spool).result(5)
    broken[0] = False
    with pytest.raises(RecordUnavailable, match="restart the gateway"):
        write(spool).result(5)
    spool.close()


def test_a_job_that_fails_in_any_way_does_not_end_the_writer(spool: Spool) -> None:
    def wrong(_: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with pytest.raises(RecordUnavailable):
        spool._submit(wrong).result(5)
    keep(spool, "r1")


def test_a_closed_spool_refuses(spool: Spool) -> None:
    spool.close()
    spool.close()
    with pytest.raises(RecordUnavailable, match="closed"):
        spool.probe().result(5)
    with pytest.raises(RecordUnavailable, match="cannot be read"):
        spool.waiting(1)


def test_what_waits_at_the_close_is_written(path: Path) -> None:
    spool = Spool(path)
    futures = [spool.record(prediction(f"r{n}"), "{}") for n in range(1500)]
    spool.close()
    assert all(f.result(0).fresh for f in futures)


def test_when_too_many_wait_for_the_disk_the_next_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medtower.adapters.spool.WAITING", 3)
    spool = Spool(path)
    entered, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        entered.set()
        assert release.wait(5)

    spool._submit(hold)
    assert entered.wait(5)
    for n in range(3):
        spool.record(prediction(f"r{n}"), "{}")
    with pytest.raises(RecordUnavailable, match="3 requests wait"):
        spool.probe().result(5)
    release.set()
    spool.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordUnavailable, match="cannot be opened"):
        Spool(tmp_path / "file" / "predictions.sqlite")
    (tmp_path / "noise").write_bytes(b"this is no database" * 100)
    with pytest.raises(RecordUnavailable, match="cannot be opened"):
        Spool(tmp_path / "noise")


def test_failures_and_shadows_are_there_after_a_restart_in_the_order_they_came(path: Path) -> None:
    spool = Spool(path)
    spool.note(failure())
    spool.record(prediction("r1"), "{}")
    spool.note(shadowed())
    spool.close()
    again = Spool(path)
    assert [w.item for w in again.waiting(10)] == [failure(), prediction("r1"), shadowed()]
    again.close()


def test_a_breaker_that_opened_is_remembered_when_its_failure_has_left(path: Path) -> None:
    spool = Spool(path)
    spool.note(failure()).result(5)
    assert spool.opened() == set()
    spool.note(failure(opened=True)).result(5)
    spool.note(failure(opened=True)).result(5)
    spool.dropped(spool.waiting(10)[-1].sequence).result(5)
    spool.close()
    again = Spool(path)
    assert again.opened() == {("demo_risk", 2, "b" * 64)}
    again.close()


def test_what_is_refused_is_set_aside_with_its_reason_and_waits_no_more(path: Path) -> None:
    spool = Spool(path)
    keep(spool, "r1", "r2", "r3")
    first, second, _ = (w.sequence for w in spool.waiting(3))
    spool.dropped(second, {first: "the reason"}).result(5)
    assert [w.item for w in spool.waiting(10)] == [prediction("r3")]
    assert spool.depth()[0] == 1
    rows = spool._reader.execute("SELECT sequence, kind, reason FROM rejected").fetchall()
    assert rows == [(first, "prediction", "the reason")]
    spool.close()


def answered(request_id: str) -> spool_tables.Answered:
    kept = prediction(request_id)
    return spool_tables.Answered(request_id, kept.body_sha256, kept.json(), "{}")


@pytest.mark.parametrize("shipped", [False, True])
def test_an_outbox_of_an_earlier_form_takes_the_new_kinds_and_counts_on(path: Path, shipped: bool) -> None:
    path.parent.mkdir()
    old = spool_tables.SCHEMA.replace(
        "kind TEXT NOT NULL,", "kind TEXT NOT NULL CHECK (kind IN ('prediction', 'outcome')),", 1
    )
    connection = spool_tables.connect(path)
    connection.executescript(old)
    spool_tables.put_answered(connection, [answered("r1")], 1.0)
    if shipped:
        connection.execute("DELETE FROM outbox")
    connection.close()
    for _ in range(2):
        Spool(path).close()
    spool = Spool(path)
    keep(spool, "r2")
    spool.note(failure()).result(5)
    assert [w.item for w in spool.waiting(10)] == [prediction("r1")] * (not shipped) + [
        prediction("r2"),
        failure(),
    ]
    assert spool.waiting(10)[-1].sequence == 3
    assert spool.answer("r1", "body") == "{}"
    spool.close()


def test_one_id_twice_in_one_group_is_kept_once_and_another_body_is_a_conflict(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    gate = threading.Event()
    held = spool._submit(lambda _: gate.wait(10))
    first, again = spool.record(prediction("r1"), "one"), spool.record(prediction("r1"), "two")
    other, fine = spool.record(prediction("r1", "other"), "three"), spool.record(prediction("r2"), "four")
    gate.set()
    assert held.result(10)
    assert (first.result(10), again.result(10)) == (Kept("one", fresh=True), Kept("one", fresh=False))
    assert fine.result(10) == Kept("four", fresh=True)
    with pytest.raises(Conflict):
        other.result(10)
    assert [w.item.request_id for w in spool.waiting(10)] == ["r1", "r2"]  # type: ignore[union-attr]
    spool.close()


def test_an_answer_that_is_committed_while_it_is_looked_for_is_no_conflict(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite")
    kept: list[object] = []

    def commit_between(statement: str) -> None:
        if statement.startswith("SELECT sequence, body FROM used") and not kept:
            kept.append(spool.record(prediction("r1"), "{}").result(10))

    spool._reader.set_trace_callback(commit_between)
    assert spool.answer("r1", "body") in (None, "{}")
    assert kept
    assert spool.answer("r1", "body") == "{}"
    spool.close()


def test_rows_that_nobody_asks_for_again_are_one_transaction_and_remembered_for_nobody(path: Path) -> None:
    groups: list[int] = []
    spool = Spool(path, committed=groups.append)
    spool.append([("prediction", prediction(f"m{n}").json()) for n in range(3)]).result(5)
    assert groups == [3]
    assert [w.item for w in spool.waiting(10)] == [prediction(f"m{n}") for n in range(3)]
    assert spool.answer("m1", "another body") is None
    keep(spool, "r1")
    assert spool.waiting(10)[-1].sequence == 4
    spool.close()


def test_more_rows_than_one_statement_takes_are_kept_in_their_order(path: Path) -> None:
    spool = Spool(path)
    many = 2 * spool_outbox.MOST_AT_ONCE + 1
    spool.append([("outcome", outcome(f"r{n}").json()) for n in range(many)]).result(30)
    assert [w.item.request_id for w in spool.waiting(many)] == [f"r{n}" for n in range(many)]
    spool.close()


def test_what_waits_is_packed_by_kind_with_the_days_of_its_events(path: Path) -> None:
    spool = Spool(path)
    assert spool.packed(10) == []
    later = structs.replace(prediction("r2"), event_time=AT + timedelta(days=1))
    spool.append([("prediction", prediction("r1").json()), ("prediction", later.json())]).result(5)
    spool.record_outcomes([outcome("r1")]).result(5)
    spool.append([("prediction", prediction("r3").json())]).result(5)
    packed = {some.kind: some for some in spool.packed(3)}
    assert packed.keys() == {"prediction", "outcome"}
    assert [Prediction.of(line) for line in packed["prediction"].lines.splitlines()] == [
        prediction("r1"),
        later,
    ]
    assert (packed["prediction"].last, packed["prediction"].count) == (2, 2)
    assert set((packed["prediction"].days or "").split(",")) == {"2026-01-31", "2026-02-01"}
    assert (packed["outcome"].last, packed["outcome"].count, packed["outcome"].days) == (3, 1, None)
    spool.close()


def test_a_part_of_what_was_shipped_leaves_with_what_was_refused_of_it(path: Path) -> None:
    spool = Spool(path)
    spool.append([("prediction", prediction(f"r{n}").json()) for n in range(4)]).result(5)
    spool.dropped(2, {1: "early", 4: "late"}, more=True).result(5)
    rejected = "SELECT sequence, reason FROM rejected ORDER BY sequence"
    assert spool._reader.execute(rejected).fetchall() == [(1, "early")]
    assert [w.sequence for w in spool.waiting(10)] == [3, 4]
    spool.dropped(4, {1: "early", 4: "late"}).result(5)
    assert spool._reader.execute(rejected).fetchall() == [(1, "early"), (4, "late")]
    assert spool.depth()[0] == 0
    spool.close()


def test_no_more_is_packed_together_than_fits_and_always_one_row(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(path)
    size = len(prediction("r0").json())
    spool.append([("prediction", prediction(f"r{n}").json()) for n in range(5)]).result(5)
    for most, packed in ((1, 1), (size, 1), (size + 1, 2), (3 * size, 3), (100 * size, 5)):
        monkeypatch.setattr(spool_outbox, "MOST_BYTES", most)
        assert [(some.count, some.last) for some in spool.packed(10)] == [(packed, packed)]
    spool.close()
