"""A rollout's candidate may fail as it likes: nobody who asks sees it, and everything of it is on record."""

from __future__ import annotations

import sqlite3
import threading
from typing import Any

import pytest
from tests.gateway.conftest import DIGESTS, FEATURES, RISK, Gateway, publish, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.domain.contract import Contract
from medtower.gateway.answering.inference import Triton
from medtower.serving.pseudonym import pseudonym
from medtower.settings import Settings

# nearly everybody belongs to the candidate, version 2
ROLLOUT: dict[int, float] = {1: 1e-6, 2: 100 - 1e-6}


@pytest.fixture
def rollout(gateway: Gateway) -> Gateway:
    gateway.publish(demo_risk=ROLLOUT)
    return gateway


def arm_requests(gateway: Gateway, version: int, arm: str, outcome: str) -> float:
    labels = f'arm="{arm}",model="demo_risk",outcome="{outcome}",version="{version}"'
    return gateway.metric(f"medtower_arm_requests_total{{{labels}}}")


def breaker(gateway: Gateway) -> float:
    return gateway.metric('medtower_breaker_open{model="demo_risk",version="2"}')


def contract(**changes: Any) -> Contract:
    return Contract.model_validate(RISK | changes)


def test_a_candidate_answers_its_patients(rollout: Gateway) -> None:
    assert rollout.ask(request_id="r1").json()["version"] == 2
    assert [(p.version, p.arm) for p in rollout.recorded()] == [(2, "candidate")]
    assert rollout.failures() == []
    assert arm_requests(rollout, 2, "candidate", "answered") == 1
    assert breaker(rollout) == 0


@pytest.mark.parametrize(
    ("fault", "code"), [("nan", 502), ("shape", 502), ("500", 502), ("503", 503), ("hang", 504)]
)
def test_what_a_candidate_fails_at_the_incumbent_answers_at_once(
    rollout: Gateway, fault: str, code: int
) -> None:
    rollout.triton.faults[2] = fault
    answer = rollout.ask(request_id="r1")
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert answer.elapsed.total_seconds() < 2
    (kept,), (failure,) = rollout.recorded(), rollout.failures()
    assert (kept.version, kept.digest, kept.arm) == (1, DIGESTS[1], "current")
    assert (failure.version, failure.digest, failure.arm, failure.code) == (2, DIGESTS[2], "candidate", code)
    assert (failure.request_id, failure.event_time) == ("r1", kept.event_time)
    assert failure.received_at == kept.received_at
    assert failure.subject == pseudonym(b"key-of-the-pseudonyms", "subject-1")
    assert failure.latency_ms > (900 if fault == "hang" else 0)
    assert not failure.opened
    assert arm_requests(rollout, 2, "candidate", "failed") == 1
    assert arm_requests(rollout, 1, "current", "answered") == 1


def test_a_failure_is_on_the_disk_before_the_answer_that_came_instead(rollout: Gateway) -> None:
    rollout.triton.faults[2] = "nan"
    rollout.ask()
    assert [type(item).__name__ for item in rollout.spooled()] == ["Failure", "Prediction"]


def test_three_failures_in_a_row_take_every_patient_away_and_nobody_sees_an_error(rollout: Gateway) -> None:
    rollout.triton.faults[2] = "nan"
    answers = [rollout.ask(subject_id=f"s{n}") for n in range(12)]
    assert {a.status_code for a in answers} == {200}
    assert {a.json()["version"] for a in answers} == {1}
    assert [f.opened for f in rollout.failures()] == [False, False, True]
    assert breaker(rollout) == 1
    rollout.triton.faults.clear()
    assert rollout.ask().json()["version"] == 1
    assert [v for v, _ in rollout.triton.rows] == [2, 1] * 3 + [1] * 10


def test_a_breaker_stays_open_over_a_restart_and_for_that_digest_alone(
    settings: Settings, triton: FakeTriton, caplog: pytest.LogCaptureFixture
) -> None:
    with started(settings, triton) as gateway:
        gateway.publish(demo_risk=ROLLOUT)
        triton.faults[2] = "503"
        for n in range(3):
            assert gateway.ask(subject_id=f"s{n}").status_code == 200
    opened = [r for r in caplog.records if "circuit breaker opened" in r.getMessage()]
    assert [(r.__dict__["model"], r.__dict__["version"]) for r in opened] == [("demo_risk", 2)]
    triton.faults.clear()
    with started(settings, triton) as gateway:
        gateway.publish(demo_risk=ROLLOUT)
        assert gateway.ask().json()["version"] == 1
        assert breaker(gateway) == 1
        gateway.publish(demo_risk={1: 1e-6, 3: 100 - 1e-6})
        triton.versions.add(3)
        assert gateway.ask().json()["version"] == 3
        assert "medtower_breaker_open{" in gateway.http.get("/metrics").text
        assert breaker(gateway) == 0


def test_an_incumbent_that_fails_too_is_no_sign_against_the_candidate(rollout: Gateway) -> None:
    rollout.triton.fault = "503"
    answers = [rollout.ask(request_id=f"r{n}") for n in range(5)]
    assert {a.status_code for a in answers} == {503}
    assert [(f.request_id, f.version, f.arm) for f in rollout.failures()][:2] == [
        ("r0", 2, "candidate"),
        ("r0", 1, "current"),
    ]
    assert len(rollout.failures()) == 10
    assert breaker(rollout) == 0
    rollout.triton.fault = ""
    assert rollout.ask().json()["version"] == 2


def test_a_failure_without_a_rollout_is_the_callers_error_and_on_record(gateway: Gateway) -> None:
    gateway.triton.fault = "nan"
    answers = [gateway.ask(request_id=f"r{n}") for n in range(6)]
    assert {a.status_code for a in answers} == {502}
    assert {(f.version, f.arm, f.code, f.opened) for f in gateway.failures()} == {(1, "current", 502, False)}
    assert len(gateway.failures()) == 6
    gateway.triton.fault = ""
    assert gateway.ask().status_code == 200


def test_when_all_of_triton_hangs_both_arms_share_one_deadline(rollout: Gateway) -> None:
    rollout.triton.fault = "hang"
    answer = rollout.ask()
    assert (answer.status_code, answer.json()["error"]) == (504, "DEADLINE_EXCEEDED")
    assert 1.9 < answer.elapsed.total_seconds() < 3
    first, second = rollout.failures()
    assert (first.arm, second.arm) == ("candidate", "current")
    assert 900 < first.latency_ms < 1500


def test_candidates_that_hang_take_no_connection_of_the_incumbents_patients(
    settings: Settings, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FewConnections(Triton):
        def __init__(self, url: str, **_: int) -> None:
            super().__init__(url, connections=4)

    monkeypatch.setattr("medtower.gateway.parts.Triton", FewConnections)
    with started(settings, triton) as gateway:
        gateway.publish(demo_risk={1: 50, 2: 50})
        served = {f"s{n}": gateway.ask(subject_id=f"s{n}").json()["version"] for n in range(60)}
        ours, theirs = ([s for s, version in served.items() if version == v] for v in (1, 2))
        triton.faults[2] = "hang"
        triton.asked.clear()
        threads = [threading.Thread(target=gateway.ask, kwargs={"subject_id": s}) for s in theirs[:12]]
        for thread in threads:
            thread.start()
        wait_until(lambda: triton.asked.count(2) >= 2)  # batches: the others wait behind them
        assert [gateway.ask(subject_id=s).json()["version"] for s in ours[:5]] == [1] * 5
        assert gateway.failures() == []
        for thread in threads:
            thread.join()
        assert len(gateway.failures()) == 12


def test_a_callers_mistake_is_no_failure_of_an_arm(rollout: Gateway) -> None:
    assert rollout.ask(features=FEATURES | {"age": 300}).status_code == 422
    assert rollout.send(b"x" * 300_000).status_code == 413
    assert rollout.send(b"{").status_code == 422
    assert rollout.failures() == []
    assert "medtower_arm_requests_total{" not in rollout.http.get("/metrics").text


def test_a_candidate_whose_contract_refuses_what_the_incumbent_takes_costs_no_patient(
    gateway: Gateway,
) -> None:
    narrow = [RISK["inputs"][0] | {"range": [18, 60]}, *RISK["inputs"][1:]]
    publish(gateway.settings, {}, {2: contract(inputs=narrow)}, demo_risk=ROLLOUT)
    answer = gateway.ask()
    assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert [(f.version, f.code) for f in gateway.failures()] == [(2, 422)]
    assert [v for v, _ in gateway.triton.rows] == [1]


def test_a_candidate_that_fails_at_what_the_incumbents_contract_refuses_is_an_error_of_its_own(
    gateway: Gateway,
) -> None:
    wide = [RISK["inputs"][0] | {"range": [18, 200]}, *RISK["inputs"][1:]]
    publish(gateway.settings, {}, {2: contract(inputs=wide)}, demo_risk=ROLLOUT)
    assert gateway.ask(features=FEATURES | {"age": 150}).json()["version"] == 2
    gateway.triton.faults[2] = "nan"
    assert gateway.ask(features=FEATURES | {"age": 150}).status_code == 502
    assert [(f.version, f.code) for f in gateway.failures()] == [(2, 502)]


def test_a_candidate_that_triton_does_not_serve_is_a_failure_only_when_routing_still_names_it(
    rollout: Gateway,
) -> None:
    rollout.triton.versions = {1}
    assert rollout.ask(request_id="r1").json()["version"] == 1
    assert [(f.version, f.code) for f in rollout.failures()] == [(2, 503)]

    def taken_back(version: int) -> None:
        if version == 2:
            rollout.publish(demo_risk={1: 100})

    rollout.triton.before = taken_back
    assert rollout.ask(request_id="r2").json()["version"] == 1
    assert len(rollout.failures()) == 1


def test_a_failure_that_cannot_be_kept_is_no_second_error(
    rollout: Gateway, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    rollout.triton.fault = "nan"
    monkeypatch.setattr("medtower.adapters.spool_outbox.put", broken)
    answer = rollout.ask()
    assert (answer.status_code, answer.json()["error"]) == (502, "MODEL_MISBEHAVED")
    assert any("could not be kept" in r.getMessage() for r in caplog.records)
    monkeypatch.undo()
    rollout.triton.fault = ""
    wait_until(lambda: rollout.ask().status_code == 200)


def test_a_disk_that_hangs_holds_up_no_error_for_long(rollout: Gateway) -> None:
    entered, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        entered.set()
        assert release.wait(10)

    held = rollout.app.state.parts.record.spool._submit(hold)
    assert entered.wait(5)
    rollout.triton.fault = "nan"
    answer = rollout.ask(request_id="r1")
    assert answer.status_code == 502
    assert answer.elapsed.total_seconds() < 3
    release.set()
    held.result(5)
    wait_until(lambda: len(rollout.failures()) == 2)
