"""A version in the shadow scores what was answered, and is never in anybody's way."""

from __future__ import annotations

import pytest
from tests.gateway.conftest import DIGESTS, RISK, Gateway, publish, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

from medtower.domain.contract import Contract
from medtower.gateway.answering.shadow import IN_FLIGHT
from medtower.settings import Settings


@pytest.fixture
def shadowed(gateway: Gateway) -> Gateway:
    gateway.publish(demo_risk={1: 100}, shadow=2)
    return gateway


def copies(gateway: Gateway, result: str) -> float:
    return gateway.metric(f'medtower_shadow_total{{model="demo_risk",result="{result}",version="2"}}')


def test_what_the_current_version_answers_the_shadow_scores_too(shadowed: Gateway) -> None:
    shadowed.triton.values = {1: 0.75, 2: 0.8}
    answer = shadowed.ask(request_id="r1")
    assert (answer.json()["version"], answer.json()["prediction"]) == (1, 0.75)
    wait_until(lambda: shadowed.shadows())
    (kept,), (shadow,) = shadowed.recorded(), shadowed.shadows()
    assert (shadow.request_id, shadow.subject, shadow.event_time) == ("r1", kept.subject, kept.event_time)
    assert shadow.received_at == kept.received_at
    assert (shadow.version, shadow.digest) == (2, DIGESTS[2])
    assert shadow.prediction == pytest.approx(0.8)
    assert (shadow.current_version, shadow.current_prediction) == (1, 0.75)
    assert (shadow.current_latency_ms, shadow.disagrees) == (kept.latency_ms, False)
    assert shadow.latency_ms > 0
    assert copies(shadowed, "agree") == 1
    assert [v for v, _ in shadowed.triton.rows] == [1, 2]


def test_a_disagreement_is_marked(shadowed: Gateway) -> None:
    shadowed.triton.values = {1: 0.75, 2: 0.25}
    shadowed.ask()
    wait_until(lambda: shadowed.shadows())
    assert shadowed.shadows()[0].disagrees
    assert copies(shadowed, "disagree") == 1


@pytest.mark.parametrize("fault", ["nan", "shape", "500", "503"])
def test_a_shadow_that_fails_is_on_record_and_touches_no_answer(shadowed: Gateway, fault: str) -> None:
    shadowed.triton.faults[2] = fault
    assert shadowed.ask().status_code == 200
    wait_until(lambda: shadowed.shadows())
    (shadow,) = shadowed.shadows()
    assert (shadow.prediction, shadow.disagrees) == (None, False)
    assert shadowed.failures() == []
    assert copies(shadowed, "failed") == 1


def test_the_answer_is_there_while_the_shadow_still_hangs(shadowed: Gateway) -> None:
    shadowed.triton.faults[2] = "hang"
    assert shadowed.ask().status_code == 200
    assert shadowed.shadows() == []
    wait_until(lambda: shadowed.shadows())
    assert shadowed.shadows()[0].prediction is None
    assert shadowed.shadows()[0].latency_ms > 1900


def test_more_copies_than_may_be_on_their_way_are_shed_and_counted(shadowed: Gateway) -> None:
    shadowed.triton.faults[2] = "hang"
    answers = [shadowed.ask(subject_id=f"s{n}") for n in range(IN_FLIGHT + 5)]
    assert {a.status_code for a in answers} == {200}
    wait_until(lambda: copies(shadowed, "shed") == 5)
    wait_until(lambda: len(shadowed.shadows()) == IN_FLIGHT)
    shadowed.triton.faults.clear()
    shadowed.ask()
    wait_until(lambda: copies(shadowed, "agree") == 1)


def test_copies_on_their_way_are_given_up_at_the_end(
    settings: Settings, triton: FakeTriton, caplog: pytest.LogCaptureFixture
) -> None:
    triton.faults[2] = "hang"
    with started(settings, triton) as gateway:
        gateway.publish(demo_risk={1: 100}, shadow=2)
        assert gateway.ask().status_code == 200
        shadowing = gateway.app.state.parts.shadowing
        wait_until(lambda: shadowing._running)
    assert not shadowing._running
    assert not [r for r in caplog.records if r.levelname == "ERROR"]
    triton.faults.clear()
    with started(settings, triton) as gateway:
        assert gateway.shadows() == []
        assert len(gateway.recorded()) == 1


def test_what_a_shadow_said_just_before_the_end_is_kept(settings: Settings, triton: FakeTriton) -> None:
    with started(settings, triton) as gateway:
        gateway.publish(demo_risk={1: 100}, shadow=2)
        gateway.ask()
        wait_until(lambda: copies(gateway, "agree") == 1)
    with started(settings, triton) as gateway:
        assert len(gateway.shadows()) == 1


def test_the_shadow_reads_the_request_by_its_own_contract(gateway: Gateway) -> None:
    turned = Contract.model_validate(RISK | {"inputs": list(reversed(RISK["inputs"]))})
    publish(gateway.settings, {}, {2: turned}, demo_risk={1: 100}, shadow=2)
    gateway.ask()
    wait_until(lambda: gateway.shadows())
    (_, row), (_, other) = gateway.triton.rows
    assert other[1:] == tuple(reversed(row[:4]))
    narrow = [RISK["inputs"][0] | {"range": [18, 60]}, *RISK["inputs"][1:]]
    refusing = Contract.model_validate(RISK | {"inputs": narrow})
    publish(gateway.settings, {}, {2: refusing}, demo_risk={1: 100}, shadow=2)
    assert gateway.ask().status_code == 200
    wait_until(lambda: len(gateway.shadows()) == 2)
    assert gateway.shadows()[1].prediction is None


def test_a_repeated_request_and_a_refused_one_are_not_scored(shadowed: Gateway) -> None:
    for _ in range(3):
        shadowed.ask(request_id="r1")
    assert shadowed.ask(features={}).status_code == 422
    shadowed.triton.faults[1] = "nan"
    assert shadowed.ask().status_code == 502
    shadowed.triton.faults.clear()
    shadowed.ask(request_id="last")
    wait_until(lambda: len(shadowed.shadows()) == 2)
    assert [s.request_id for s in shadowed.shadows()] == ["r1", "last"]


def test_a_version_that_left_the_shadow_meanwhile_has_not_failed(shadowed: Gateway) -> None:
    def promoted(version: int) -> None:
        if version == 2:
            shadowed.publish(demo_risk={1: 100})
            shadowed.triton.versions = {1}

    shadowed.triton.before = promoted
    shadowed.ask(request_id="left")
    wait_until(lambda: 2 in shadowed.triton.asked and not shadowed.app.state.parts.shadowing._running)
    shadowed.triton.before = None
    shadowed.publish(demo_risk={1: 100}, shadow=2)
    shadowed.ask(request_id="stayed")
    wait_until(lambda: shadowed.shadows())
    assert [(s.request_id, s.prediction) for s in shadowed.shadows()] == [("stayed", None)]


def test_whatever_goes_wrong_in_the_shadow_stays_there(
    shadowed: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError("Zaphod-4711")

    monkeypatch.setattr("medtower.gateway.answering.shadow.disagree", broken)
    assert shadowed.ask().status_code == 200
    wait_until(lambda: any("came to nothing" in r.getMessage() for r in caplog.records))
    assert shadowed.ask(request_id="r2").status_code == 200
    assert not [r for r in caplog.records if "Zaphod" in r.getMessage()]
