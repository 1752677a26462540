"""Compositions through the running gateway: what the caller is told, what is on record, and what becomes of failures and rollouts."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tests.gateway.conftest import DIGESTS, RISK, Gateway, contracts, publish

from medtower.domain.contract import Contract
from medtower.domain.prediction import Prediction

# versions tell the models apart for the Triton of the tests: 1 is the composition, 2 the screen, 3 another risk, 4 a candidate of the composition
SCREEN = {"name": "screen", "model": "screen_risk"}
OTHER = {"name": "other", "model": "other_risk", "inputs": {"years": "age"}}
OWN = {"name": "own", "model": "own"}
WEIGHTED = {"kind": "confidence_weighted"}
QUESTION = {"age": 70.5, "sex": "M", "visits": 3, "smoker": True, "marker": None}


def risk(name: str, *inputs: dict[str, Any], **changes: Any) -> Contract:
    return Contract.model_validate(RISK | {"name": name, "inputs": list(inputs) or RISK["inputs"]} | changes)


def composing(
    parts: list[dict[str, Any]], synthesis: dict[str, Any] | None = None, **changes: Any
) -> Contract:
    composition = {"parts": parts, "synthesis": synthesis or WEIGHTED}
    return risk("demo_risk", composition=composition, **changes)


def serve(
    gateway: Gateway, whole: Contract, *, candidate: Contract | None = None, **weights: dict[int, float]
) -> None:
    """Route the composition `whole` (version 1, its `candidate` 4) beside the screen (2), another risk (3) and a score (2)."""
    approved = {
        "demo_risk": whole,
        "screen_risk": risk("screen_risk"),
        "other_risk": risk("other_risk", RISK["inputs"][0] | {"name": "years"}),
    }
    routed: dict[str, dict[int, float]] = {
        "demo_risk": {1: 100},
        "screen_risk": {2: 100},
        "other_risk": {3: 100},
        "demo_score": {2: 100},
    }
    gateway.triton.versions = {1, 2, 3, 4}
    candidates = {4: candidate} if candidate else {}
    publish(gateway.settings, approved, candidates, **(routed | weights))


def by_request(gateway: Gateway) -> dict[str, Prediction]:
    return {each.request_id: each for each in gateway.recorded()}


def test_the_answer_names_every_part_and_all_of_it_is_on_record(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OTHER, OWN]))
    gateway.triton.values = {1: 0.9, 2: 0.8, 3: 0.7}
    answer = gateway.ask(request_id="r1").json()
    assert answer["prediction"] == pytest.approx((0.9**2 + 0.8**2 + 0.7**2) / (0.9 + 0.8 + 0.7), abs=1e-6)
    assert answer["confidence"] == answer["prediction"]
    assert (answer["model"], answer["version"], answer["digest"]) == ("demo_risk", 1, DIGESTS[1])
    assert [(p["name"], p["model"], p["version"], p["digest"], p["used"]) for p in answer["parts"]] == [
        ("screen", "screen_risk", 2, DIGESTS[2], True),
        ("other", "other_risk", 3, DIGESTS[3], True),
        ("own", "demo_risk", 1, DIGESTS[1], True),
    ]
    assert [p["prediction"] for p in answer["parts"]] == pytest.approx([0.8, 0.7, 0.9])
    kept = by_request(gateway)
    assert {(each.request_id, each.model, each.part_of) for each in kept.values()} == {
        ("r1", "demo_risk", ""),
        ("r1~screen", "screen_risk", "r1"),
        ("r1~other", "other_risk", "r1"),
        ("r1~own", "demo_risk", "r1"),
    }
    assert kept["r1"].prediction == answer["prediction"]
    assert kept["r1~other"].features == [70.5]
    assert len({each.subject for each in kept.values()}) == 1


def test_a_repeated_request_gets_the_same_answer_and_asks_nobody(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OWN]))
    first = gateway.ask(request_id="r1")
    asked = len(gateway.triton.asked)
    assert gateway.ask(request_id="r1").content == first.content
    assert (len(gateway.triton.asked), len(gateway.recorded())) == (asked, 3)


def test_no_caller_can_take_the_request_id_of_a_part(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OWN]))
    assert gateway.ask(request_id="r1~screen").status_code == 422


def test_a_condition_decides_whether_a_part_is_asked(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OWN | {"when": {"part": "screen", "at_or_above": 0.3}}]))
    gateway.triton.values = {1: 0.9, 2: 0.1}
    answer = gateway.ask().json()
    assert answer["prediction"] == pytest.approx(0.1)
    assert answer["parts"][1]["why_not"] == "its condition is not met"
    assert gateway.triton.asked == [2]
    gateway.triton.values = {1: 0.9, 2: 0.3}
    assert gateway.ask().json()["parts"][1]["used"]


def test_the_last_answers_when_nobody_is_sure_and_a_person_is_asked_to_look(gateway: Gateway) -> None:
    first = {"kind": "first_confident", "order": [{"part": "screen", "floor": 0.8}, {"part": "own"}]}
    serve(gateway, composing([SCREEN, OWN], first))
    gateway.triton.values = {1: 0.95, 2: 0.55}
    answer = gateway.ask().json()
    assert answer["prediction"] == pytest.approx(0.95)
    assert answer["parts"][0]["why_not"] == "its confidence is below its floor"
    assert answer["requires_human_review"] is True
    assert answer["review_reason"].startswith("the part screen asks for it")
    assert by_request(gateway)[answer["request_id"]].requires_human_review


@pytest.mark.parametrize(("fault", "code"), [("500", 502), ("503", 503), ("nan", 502)])
def test_a_part_that_fails_fails_the_whole_with_its_code_and_nothing_is_answered(
    gateway: Gateway, fault: str, code: int
) -> None:
    serve(gateway, composing([SCREEN, OWN]))
    gateway.triton.faults = {2: fault}
    answer = gateway.ask(request_id="r1")
    assert answer.status_code == code
    assert "the part screen (screen_risk) of demo_risk" in answer.json()["message"]
    assert gateway.recorded() == []
    assert {(f.request_id, f.model, f.code) for f in gateway.failures()} == {
        ("r1~screen", "screen_risk", code),
        ("r1", "demo_risk", code),
    }


def test_an_optional_part_that_fails_is_left_out_and_named(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN | {"optional": True}, OWN]))
    gateway.triton.faults = {2: "503"}
    answer = gateway.ask(request_id="r1").json()
    assert answer["prediction"] == pytest.approx(0.75)
    assert answer["parts"][0] == {
        "name": "screen", "model": "screen_risk", "version": None, "digest": None, "prediction": None,
        "unit": None, "confidence": None, "used": False, "why_not": "it is not available",
    }  # fmt: skip
    assert by_request(gateway).keys() == {"r1", "r1~own"}


def test_a_composition_that_does_not_fit_is_withheld_and_the_others_go_on(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, {"name": "gone", "model": "gone_risk"}, OWN]))
    answer = gateway.ask()
    assert answer.status_code == 503
    assert "gone: no version of gone_risk is released" in answer.json()["message"]
    assert gateway.ask("screen_risk", features=QUESTION).status_code == 200
    assert gateway.ask("demo_score").status_code == 200
    assert gateway.metric('medtower_composition_withheld{model="demo_risk",version="1"}') == 1
    serve(gateway, composing([SCREEN, OWN]))
    assert gateway.ask().status_code == 200
    assert gateway.metric('medtower_composition_withheld{model="demo_risk",version="1"}') == 0


def test_a_part_that_is_withdrawn_takes_the_composition_with_it_and_says_so(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OWN]), screen_risk={})
    answer = gateway.ask()
    assert (answer.status_code, "no version of screen_risk" in answer.json()["message"]) == (503, True)


def test_what_breaks_the_contract_of_the_composition_is_the_callers_mistake(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OWN]))
    answer = gateway.ask(features=QUESTION | {"age": 7})
    assert (answer.status_code, answer.json()["field"]) == (422, "age")
    assert gateway.triton.asked == []


def test_parts_of_other_kinds_are_shown_beside_the_own_answer(gateway: Gateway) -> None:
    serve(gateway, composing([{"name": "score", "model": "demo_score"}, OWN], {"kind": "own"}))
    gateway.triton.values = {1: 0.9, 2: 7.5}
    answer = gateway.ask().json()
    assert answer["prediction"] == pytest.approx(0.9)
    assert (answer["parts"][0]["prediction"], answer["parts"][0]["unit"]) == (7.5, "{score}")
    assert answer["parts"][0]["why_not"] == "it is shown beside the answer and is no part of it"


def test_a_composition_may_be_a_part_of_another(gateway: Gateway) -> None:
    inner = risk("screen_risk", composition={"parts": [OTHER, OWN], "synthesis": WEIGHTED})
    approved = {
        "demo_risk": composing([SCREEN, OWN]),
        "screen_risk": inner,
        "other_risk": risk("other_risk", RISK["inputs"][0] | {"name": "years"}),
    }
    gateway.triton.versions = {1, 2, 3}
    publish(gateway.settings, approved, demo_risk={1: 100}, screen_risk={2: 100}, other_risk={3: 100})
    gateway.triton.values = {1: 0.5, 2: 0.9, 3: 0.9}
    answer = gateway.ask(request_id="r1").json()
    assert answer["parts"][0]["prediction"] == pytest.approx(0.9)
    assert {(each.request_id, each.part_of) for each in gateway.recorded()} == {
        ("r1", ""),
        ("r1~screen", "r1"),
        ("r1~screen~other", "r1~screen"),
        ("r1~screen~own", "r1~screen"),
        ("r1~own", "r1"),
    }


def test_each_part_goes_to_the_arm_that_its_own_route_gives_the_patient(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OWN]), screen_risk={2: 50, 3: 50})
    alone = {
        n: gateway.ask("screen_risk", subject_id=f"s{n}", features=QUESTION).json()["version"]
        for n in range(20)
    }
    inside = {n: gateway.ask(subject_id=f"s{n}").json()["parts"][0]["version"] for n in range(20)}
    assert inside == alone
    assert set(alone.values()) == {2, 3}


def test_what_a_candidate_composition_fails_at_is_answered_by_the_incumbent(gateway: Gateway) -> None:
    whole = composing([SCREEN, OWN])
    serve(gateway, whole, candidate=composing([SCREEN, OTHER, OWN]), demo_risk={1: 1, 4: 99})
    gateway.triton.faults = {3: "500"}
    answers = [gateway.ask(subject_id=f"s{n}", request_id=f"r{n}").json() for n in range(4)]
    assert {answer["version"] for answer in answers} == {1}
    assert {len(answer["parts"]) for answer in answers} == {2}
    failures = [f for f in gateway.failures() if f.model == "demo_risk"]
    assert {f.version for f in failures} == {4}
    assert [f.opened for f in failures] == [False, False, True]


def test_a_candidate_that_stops_composing_answers_alone(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OWN]), candidate=contracts()[0], demo_risk={1: 1, 4: 99})
    answer = next(a for a in (gateway.ask(subject_id=f"s{n}").json() for n in range(20)) if a["version"] == 4)
    assert "parts" not in answer


def test_a_candidate_whose_composition_does_not_fit_hurts_nobody(gateway: Gateway) -> None:
    wrong = composing([{"name": "gone", "model": "gone_risk"}, OWN])
    serve(gateway, composing([SCREEN, OWN]), candidate=wrong, demo_risk={1: 1, 4: 99})
    answers = [gateway.ask(subject_id=f"s{n}") for n in range(6)]
    assert [(a.status_code, a.json()["version"]) for a in answers] == [(200, 1)] * 6


def test_own_weights_that_left_between_choice_and_call_fail_no_request(gateway: Gateway) -> None:
    whole = composing([OWN, SCREEN | {"when": {"part": "own", "at_or_above": 0}}])
    serve(gateway, whole)

    def swap(version: int) -> None:
        if version == 1 and 1 in gateway.triton.versions:
            serve(gateway, whole, demo_risk={4: 100})
            gateway.triton.versions = {2, 3, 4}

    gateway.triton.before = swap
    answer = gateway.ask()
    assert (answer.status_code, answer.json()["version"]) == (200, 4)
    gateway.triton.before, gateway.triton.versions = None, {2, 3}
    gone = gateway.ask()
    assert (gone.status_code, "does not serve it" in gone.json()["message"]) == (503, True)


def test_the_parts_of_a_wave_are_on_their_way_together(gateway: Gateway) -> None:
    serve(gateway, composing([SCREEN, OTHER, OWN]))
    together = threading.Event()

    def seen(_: int) -> None:
        if len(set(gateway.triton.asked)) == 3:
            together.set()

    gateway.triton.before = seen
    gateway.triton.faults = dict.fromkeys((1, 2, 3), "hang")
    answer = gateway.ask()
    assert answer.status_code == 504
    assert together.is_set()
