from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.gateway.conftest import started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.adapters.spool import Spool
from medtower.domain.prediction import Outcome, Prediction
from medtower.errors import Unavailable
from medtower.gateway.shipper import Shipper
from medtower.settings import Settings

AT = "2026-01-31T09:30:00Z"


class Store:
    """What a database would keep: idempotent, and down when it is told to be."""

    def __init__(self) -> None:
        self.predictions: dict[str, Prediction] = {}
        self.kept_outcomes: set[Outcome] = set()
        self.down: Exception | None = None
        self.attempts = 0
        self.after_commit: Exception | None = None

    def write(self, predictions: Sequence[Prediction]) -> None:
        self.attempts += 1
        if self.down:
            raise self.down
        for prediction in predictions:
            self.predictions.setdefault(prediction.request_id, prediction)
        if self.after_commit:
            error, self.after_commit = self.after_commit, None
            raise error

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        self.attempts += 1
        if self.down:
            raise self.down
        self.kept_outcomes.update(outcomes)


def prediction(n: int) -> Prediction:
    return Prediction.model_validate(
        {
            "request_id": f"r{n}", "model": "demo_risk", "version": 1, "digest": "a" * 64, "arm": "v1", "subject": "f" * 64,
            "event_time": AT, "features": [1.0], "prediction": 0.5, "confidence": 0.5, "requires_human_review": False,
            "latency_ms": 0.1, "body_sha256": "x",
        }
    )  # fmt: skip


def outcome(n: int) -> Outcome:
    return Outcome.model_validate(
        {"request_id": f"r{n}", "model": "demo_risk", "value": 1, "observed_at": AT, "arrived_at": AT}
    )


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "predictions.sqlite")
    for future in [spool.record(prediction(n), "{}") for n in range(25)]:
        future.result(5)
    spool.record_outcomes([outcome(n) for n in range(5)]).result(5)
    yield spool
    spool.close()


def test_everything_is_shipped_in_batches_and_leaves_the_spool(spool: Spool) -> None:
    store, shipped = Store(), []
    shipper = Shipper(spool, store, shipped.append, batch=10)
    assert [shipper.ship() for _ in range(4)] == [10, 10, 10, 0]
    assert list(store.predictions.values()) == [prediction(n) for n in range(25)]
    assert store.kept_outcomes == {outcome(n) for n in range(5)}
    assert spool.depth()[0] == 0
    assert sum(shipped) == 30


def test_nothing_leaves_the_spool_before_the_store_has_it(spool: Spool) -> None:
    store = Store()
    store.down = Unavailable("postgres", "it is down")
    with pytest.raises(Unavailable):
        Shipper(spool, store, lambda _: None).ship()
    assert spool.depth()[0] == 30


def test_a_batch_whose_commit_was_not_heard_of_is_sent_again_and_kept_once(spool: Spool) -> None:
    store = Store()
    store.after_commit = ConnectionResetError()
    shipper = Shipper(spool, store, lambda _: None)
    with pytest.raises(ConnectionResetError):
        shipper.ship()
    assert shipper.ship() == 30
    assert len(store.predictions) == 25


def test_it_waits_while_the_store_is_down_and_ships_all_when_it_is_back(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store()
    store.down = ValueError("duplicate key value (subject)=(Zaphod-4711)")
    shipper = Shipper(spool, store, lambda _: None, batch=10, idle=0.001, longest=0.01)
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
    shipper = Shipper(spool, store, lambda _: None, idle=0.2, longest=30)
    assert [round(shipper._step(), 3) for _ in range(9)] == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


def test_stopping_ships_what_is_left_and_does_not_wait_for_a_store_that_hangs(spool: Spool) -> None:
    store, release = Store(), threading.Event()

    class Hanging(Store):
        def write(self, _: Sequence[Prediction]) -> None:
            release.wait(10)

    hanging = Shipper(spool, Hanging(), lambda _: None)
    hanging.start()
    hanging.stop(timeout=0.05)
    assert spool.depth()[0] == 30
    release.set()
    wait_until(lambda: not hanging._thread.is_alive())
    spool.record(prediction(99), "{}").result(5)
    shipper = Shipper(spool, store, lambda _: None)
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
