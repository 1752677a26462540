from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from msgspec import structs
from tests.gateway.conftest import started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.adapters.spool import Spool
from medtower.domain.prediction import KINDS, Failure, Outcome, Prediction, Recorded, Shadowed
from medtower.errors import DeadlineExceeded, InvalidInput, Unavailable
from medtower.gateway.observing.metrics import Metrics
from medtower.gateway.recording.shipper import Shipper
from medtower.settings import Settings

AT = "2026-01-31T09:30:00Z"


class Store:
    """What a database would keep: idempotent, down when it is told to be, and refusing batches with one of the ids `poison`."""

    def __init__(self) -> None:
        self.poison: set[str] = set()
        self.others: list[Recorded] = []
        self.predictions: dict[str, Prediction] = {}
        self.kept_outcomes: list[Recorded] = []
        self.down: Exception | None = None
        self.attempts = 0
        self.after_commit: Exception | None = None

    def _take(self, items: Sequence[Recorded]) -> None:
        self.attempts += 1
        if self.down:
            raise self.down
        if self.poison & {item.request_id for item in items}:
            raise InvalidInput("postgres refused the data at latency_ms_check (SQLSTATE 23514)")

    def write(self, rows: Sequence[Recorded]) -> int:
        days = {row.event_time.date() for row in rows if isinstance(row, Prediction)}
        return sum(
            self.write_lines(kind, "\n".join(row.json() for row in rows if isinstance(row, made)), days)
            for kind, made in KINDS.items()
            if any(isinstance(row, made) for row in rows)
        )

    def write_lines(self, kind: str, lines: str, days: Set[date] = frozenset()) -> int:
        items = [KINDS[kind].of(line) for line in lines.splitlines()]
        self._take(items)
        if kind != "prediction":
            known = self.kept_outcomes if kind == "outcome" else self.others
            new = [item for item in items if item not in known]
            known += new
            return len(new)
        predictions = [item for item in items if isinstance(item, Prediction)]
        assert {p.event_time.date() for p in predictions} <= days
        new = [p for p in predictions if p.request_id not in self.predictions]
        self.predictions |= {p.request_id: p for p in new}
        if self.after_commit:
            error, self.after_commit = self.after_commit, None
            raise error
        return len(new)

    def reused(self, predictions: Sequence[Prediction]) -> list[str]:
        there = {p.request_id: self.predictions.get(p.request_id, p) for p in predictions}
        return [p.request_id for p in predictions if there[p.request_id].body_sha256 != p.body_sha256]


def prediction(n: int) -> Prediction:
    return Prediction.of(json.dumps(
        {
            "request_id": f"r{n}", "model": "demo_risk", "version": 1, "digest": "a" * 64, "arm": "v1", "subject": "f" * 64,
            "event_time": AT, "received_at": AT, "features": [1.0], "prediction": 0.5, "confidence": 0.5, "requires_human_review": False,
            "latency_ms": 0.1, "body_sha256": "x",
        }
    ))  # fmt: skip


def outcome(n: int) -> Outcome:
    return Outcome.of(
        json.dumps(
            {"request_id": f"r{n}", "model": "demo_risk", "value": 1, "observed_at": AT, "arrived_at": AT}
        )
    )


def failure(n: int) -> Failure:
    return Failure.of(json.dumps(
        {
            "request_id": f"r{n}", "model": "demo_risk", "version": 2, "digest": "b" * 64, "arm": "candidate", "subject": "f" * 64,
            "event_time": AT, "received_at": AT, "code": 502, "latency_ms": 0.1,
        }
    ))  # fmt: skip


def shadowed(n: int) -> Shadowed:
    return Shadowed.of(json.dumps(
        {
            "request_id": f"r{n}", "model": "demo_risk", "version": 2, "digest": "b" * 64, "subject": "f" * 64, "event_time": AT, "received_at": AT,
            "prediction": None, "latency_ms": 0.1, "current_version": 1, "current_prediction": 0.5, "current_latency_ms": 0.1,
            "disagrees": False,
        }
    ))  # fmt: skip


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "predictions.sqlite")
    for future in [spool.record(prediction(n), "{}") for n in range(25)]:
        future.result(5)
    spool.record_outcomes([outcome(n) for n in range(5)]).result(5)
    yield spool
    spool.close()


def test_everything_is_shipped_in_batches_and_leaves_the_spool(spool: Spool) -> None:
    store, metrics = Store(), Metrics()
    shipper = Shipper(spool, store, metrics, batch=10)
    assert [shipper.ship() for _ in range(4)] == [10, 10, 10, 0]
    assert list(store.predictions.values()) == [prediction(n) for n in range(25)]
    assert store.kept_outcomes == [outcome(n) for n in range(5)]
    assert spool.depth()[0] == 0
    assert metrics.registry.get_sample_value("medtower_shipped_total") == 30


def test_nothing_leaves_the_spool_before_the_store_has_it(spool: Spool) -> None:
    store = Store()
    store.down = Unavailable("postgres", "it is down")
    with pytest.raises(Unavailable):
        Shipper(spool, store, Metrics()).ship()
    assert spool.depth()[0] == 30


def test_a_batch_whose_commit_was_not_heard_of_is_sent_again_and_kept_once(spool: Spool) -> None:
    store = Store()
    store.after_commit = ConnectionResetError()
    shipper = Shipper(spool, store, Metrics())
    with pytest.raises(ConnectionResetError):
        shipper.ship()
    assert shipper.ship() == 30
    assert len(store.predictions) == 25


def test_failures_and_shadows_are_shipped_as_well(spool: Spool) -> None:
    store = Store()
    for item in (failure(1), shadowed(2), failure(3)):
        spool.note(item).result(5)
    assert Shipper(spool, store, Metrics()).ship() == 33
    assert store.others == [failure(1), failure(3), shadowed(2)]
    assert spool.depth()[0] == 0


def test_a_row_that_is_refused_for_good_is_set_aside_and_the_others_go_on(
    spool: Spool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, metrics = Store(), Metrics()
    spool.note(failure(99)).result(5)
    store.poison = {"r3", "r17", "r99"}
    assert Shipper(spool, store, metrics).ship() == 31
    assert set(store.predictions) == {f"r{n}" for n in range(25)} - {"r3", "r17"}
    assert store.kept_outcomes == [outcome(n) for n in (0, 1, 2, 4)]
    assert spool.depth()[0] == 0
    with closing(sqlite3.connect(tmp_path / "predictions.sqlite")) as file:
        rows = file.execute("SELECT kind, content, reason FROM rejected ORDER BY sequence").fetchall()
    assert [kind for kind, _, _ in rows] == ["prediction", "prediction", "outcome", "failure"]
    assert Prediction.of(rows[1][1]) == prediction(17)
    assert "latency_ms_check" in rows[0][2]
    assert metrics.registry.get_sample_value("medtower_rejected_total") == 4
    assert metrics.registry.get_sample_value("medtower_shipped_total") == 27
    assert [r.__dict__["request_id"] for r in caplog.records if "set aside" in r.getMessage()] == [
        "r3", "r17", "r3", "r99",
    ]  # fmt: skip


def test_after_a_failure_less_is_sent_at_once_until_it_goes_well_again(spool: Spool) -> None:
    """What is too much for the database in one transaction is not tried for ever."""
    store = Store()
    take = store._take
    sizes: list[int] = []

    def weak(items: Sequence[Recorded]) -> None:
        sizes.append(len(items))
        if len(items) > 4:
            raise DeadlineExceeded("postgres", 30)
        take(items)

    store._take = weak  # type: ignore[method-assign]
    shipper = Shipper(spool, store, Metrics(), batch=16, idle=0.001)
    for _ in range(40):
        shipper._step()
    assert spool.depth()[0] == 0
    assert len(store.predictions) == 25
    assert sizes[:3] == [16, 8, 4]
    assert max(sizes[3:]) == 8


@pytest.mark.parametrize(
    "bad", [prediction(90).json().replace("0.5", "null"), "null", prediction(90).json().replace(AT, "null")]
)
def test_a_row_that_cannot_be_read_is_set_aside_and_the_others_go_on(
    spool: Spool, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    store, metrics = Store(), Metrics()
    spool.append([("prediction", bad)]).result(5)

    class Strict(Store):
        def write_lines(self, kind: str, lines: str, days: Set[date] = frozenset()) -> int:
            if "null" in lines:
                raise InvalidInput("postgres refused the data (SQLSTATE 23502)")
            return store.write_lines(kind, lines, days)

    assert Shipper(spool, Strict(), metrics).ship() == 31
    assert spool.depth()[0] == 0
    assert len(store.predictions) == 25
    assert spool._reader.execute("SELECT reason FROM rejected").fetchall() == [("the row cannot be read",)]
    assert "set aside" in caplog.text


def test_what_was_shipped_leaves_in_steps_so_that_no_answer_waits_long_for_the_disk(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, steps = Store(), []
    store.poison = {"r3", "r17"}
    monkeypatch.setattr("medtower.gateway.recording.shipper.STEP", 10)
    dropped = spool.dropped
    monkeypatch.setattr(
        spool, "dropped", lambda upto, *rest, **more: steps.append(upto) or dropped(upto, *rest, **more)
    )
    assert Shipper(spool, store, Metrics()).ship() == 30
    assert steps == [10, 20, 30]
    assert spool.depth()[0] == 0
    assert spool._reader.execute("SELECT count(*) FROM rejected").fetchone() == (3,)


def test_nothing_is_set_aside_while_the_store_is_down(spool: Spool) -> None:
    store, metrics = Store(), Metrics()
    shipper = Shipper(spool, store, metrics)
    store.poison, store.after_commit = {"r24"}, Unavailable("postgres", "it went away")
    with pytest.raises(Unavailable):
        shipper.ship()
    assert spool.depth()[0] == 30
    assert shipper.ship() == 30
    assert metrics.registry.get_sample_value("medtower_rejected_total") == 1


def test_a_request_id_on_record_for_another_body_is_set_aside_and_counted(spool: Spool) -> None:
    store, metrics = Store(), Metrics()
    store.predictions["r7"] = structs.replace(prediction(7), body_sha256="another")
    store.predictions["r8"] = prediction(8)
    Shipper(spool, store, metrics).ship()
    assert metrics.registry.get_sample_value("medtower_duplicate_requests_total") == 1
    assert metrics.registry.get_sample_value("medtower_rejected_total") == 1
    assert store.predictions["r7"].body_sha256 == "another"
    assert spool.depth()[0] == 0


def test_it_waits_while_the_store_is_down_and_ships_all_when_it_is_back(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.down = ValueError("duplicate key value (subject)=(Zaphod-4711)")
    shipper = Shipper(spool, store, Metrics(), batch=10, idle=0.001, longest=0.01)
    with caplog.at_level("INFO"):
        shipper.start()
        wait_until(lambda: store.attempts > 5)
        assert spool.depth()[0] == 30
        store.down = None
        wait_until(lambda: spool.depth()[0] == 0)
        shipper.stop()
    reasons = {r.__dict__.get("reason") for r in caplog.records if "could not be shipped" in r.getMessage()}
    assert reasons == {"ValueError"}
    assert "Zaphod-4711" not in caplog.text
    assert "ships again" in caplog.text


def test_the_waits_double_up_to_the_longest(spool: Spool) -> None:
    store = Store()
    store.down = Unavailable("postgres", "it is down")
    shipper = Shipper(spool, store, Metrics(), idle=0.2, longest=30)
    assert [round(shipper._step(), 3) for _ in range(9)] == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


def test_stopping_ships_what_is_left_and_does_not_wait_for_a_store_that_hangs(spool: Spool) -> None:
    store, release = Store(), threading.Event()

    class Hanging(Store):
        def write_lines(self, *_: object) -> int:
            release.wait(10)
            return 0

    hanging = Shipper(spool, Hanging(), Metrics())
    hanging.start()
    hanging.stop(timeout=0.05)
    assert spool.depth()[0] == 30
    release.set()
    wait_until(lambda: not hanging._thread.is_alive())
    spool.record(prediction(99), "{}").result(5)
    shipper = Shipper(spool, store, Metrics())
    shipper.start()
    shipper.stop()
    assert spool.depth()[0] == 0


def test_an_old_request_id_gets_no_second_answer_that_the_database_would_not_keep(
    settings: Settings, triton: FakeTriton
) -> None:
    store = Store()
    with started(settings, triton, store) as gateway:
        gateway.app.state.parts.record.spool._keep = 1
        for name in ("r1", "r2", "r3"):
            assert gateway.ask(request_id=name).status_code == 200
        wait_until(lambda: gateway.metric("medtower_spool_depth") == 0)
        same, other = gateway.ask(request_id="r1"), gateway.ask(request_id="r1", subject_id="other")
        assert (same.status_code, other.status_code) == (409, 409)
        assert "no longer kept for repetition" in same.json()["message"]
        assert "another body" in other.json()["message"]
        assert not {"prediction"} & (same.json().keys() | other.json().keys())
    assert set(store.predictions) == {"r1", "r2", "r3"}


def test_the_gateway_ships_and_keeps_answering_the_same(settings: Settings, triton: FakeTriton) -> None:
    store = Store()
    with started(settings, triton, store) as gateway:
        first = gateway.ask(request_id="r1")
        wait_until(lambda: gateway.metric("medtower_spool_depth") == 0)
        assert gateway.metric("medtower_shipped_total") == 1
        assert gateway.ask(request_id="r1").content == first.content
        assert gateway.ask(request_id="r1", subject_id="other").status_code == 409
        store.down = Unavailable("postgres", "it is down")
        assert gateway.ask(request_id="r2").status_code == 200
        assert gateway.metric("medtower_spool_depth") == 1
        store.down = None
    assert set(store.predictions) == {"r1", "r2"}
