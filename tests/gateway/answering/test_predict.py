from __future__ import annotations

import math
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.gateway.conftest import DIGESTS, FEATURES, RISK, Gateway, contracts, publish

from medtower.domain.contract import Contract
from medtower.domain.disclaimer import DISCLAIMER
from medtower.gateway.rest.examples import question as example
from medtower.serving.pseudonym import pseudonym


def test_an_answer_says_who_gave_it_and_how_sure_it_is(gateway: Gateway) -> None:
    answer = gateway.ask(request_id="r1")
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "demo_risk",
        "version": 1,
        "digest": DIGESTS[1],
        "request_id": "r1",
        "prediction": 0.75,
        "unit": "{probability}",
        "label": "event",
        "confidence": 0.75,
        "requires_human_review": False,
        "review_reason": None,
        "cached": False,
        "escalation": None,
        "disclaimer": DISCLAIMER,
    }
    assert answer.headers["cache-control"] == "no-store"


def test_the_model_sees_the_inputs_in_the_contracts_order_and_a_gap_as_nan(gateway: Gateway) -> None:
    shuffled = dict(reversed(FEATURES.items()))
    assert gateway.ask(features=shuffled).status_code == 200
    version, row = gateway.triton.rows[-1]
    assert (version, row[:4]) == (1, (70.5, 1.0, 3.0, 1.0))
    assert math.isnan(row[4])


def test_the_record_is_there_when_the_answer_arrives_and_holds_a_pseudonym(gateway: Gateway) -> None:
    before = datetime.now(UTC)
    gateway.ask(request_id="r1")
    (kept,) = gateway.recorded()
    assert kept.subject == pseudonym(b"key-of-the-pseudonyms", "subject-1")
    assert kept.features == [70.5, 1.0, 3.0, 1.0, None]
    assert (kept.request_id, kept.version, kept.digest, kept.arm) == ("r1", 1, DIGESTS[1], "current")
    assert before <= kept.event_time <= datetime.now(UTC)
    assert kept.latency_ms > 0
    assert re.fullmatch(r"[0-9a-f]{64}", kept.body_sha256)


def test_an_event_time_is_kept_in_utc(gateway: Gateway) -> None:
    now = datetime.now(UTC)
    moment = now.replace(microsecond=0) - timedelta(days=90)
    assert gateway.ask(event_time=moment.isoformat().replace("+00:00", "Z")).status_code == 200
    (kept,) = gateway.recorded()
    assert kept.event_time == moment
    # when it came in is not the caller's to say
    assert now <= kept.received_at <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("value", "label", "review"),
    [(0.25, "not event", False), (0.55, "event", True), (0.45, "not event", True)],
)
def test_low_confidence_asks_for_human_review_with_a_reason(
    gateway: Gateway, value: float, label: str, review: bool
) -> None:
    gateway.triton.value = value
    answer = gateway.ask().json()
    assert (answer["label"], answer["requires_human_review"]) == (label, review)
    assert ("floor of 0.6" in (answer["review_reason"] or "")) is review
    assert gateway.recorded()[0].requires_human_review is review
    assert gateway.metric('medtower_human_review_total{model="demo_risk",version="1"}') == review


def test_a_number_outside_the_outputs_range_asks_for_human_review(gateway: Gateway) -> None:
    gateway.triton.value = 11.5
    answer = gateway.ask("demo_score").json()
    assert (answer["prediction"], answer["label"], answer["confidence"]) == (11.5, None, 0.0)
    assert "outside the range" in answer["review_reason"]


def test_07_the_same_request_gets_the_same_answer_and_one_record(gateway: Gateway) -> None:
    first = gateway.ask(request_id="r1")
    gateway.triton.value = 0.9
    gateway.publish(demo_risk={2: 100})
    second = gateway.ask(request_id="r1")
    assert second.content == first.content
    assert len(gateway.recorded()) == len(gateway.triton.rows) == 1
    assert gateway.metric('medtower_predictions_total{model="demo_risk",version="1"}') == 1
    assert gateway.metric('medtower_requests_total{code="200",model="demo_risk",version="1"}') == 2


@pytest.mark.parametrize("change", [{"subject_id": "subject-2"}, {"features": FEATURES | {"age": 71}}])
def test_07_the_same_request_id_with_another_body_is_a_conflict(
    gateway: Gateway, change: dict[str, object]
) -> None:
    gateway.ask(request_id="r1")
    refused = gateway.ask(**{"request_id": "r1", **change})
    assert (refused.status_code, refused.json()["error"]) == (409, "CONFLICT")
    assert len(gateway.recorded()) == 1


@pytest.mark.parametrize("suffix", ["", ".0"])
def test_07_an_id_of_the_form_that_the_gateway_gives_is_taken_whoever_has_it(
    gateway: Gateway, suffix: str
) -> None:
    given = gateway.ask(request_id=None).json()["request_id"]
    for name in (given, "m0" + "1" * 31):
        refused = gateway.ask(request_id=name + suffix)
        assert (refused.status_code, refused.json()["error"]) == (409, "CONFLICT")
        assert "given by the gateway" in refused.json()["message"]
    assert [p.request_id for p in gateway.recorded()] == [given]


def test_the_same_body_sent_to_another_model_is_a_conflict(gateway: Gateway) -> None:
    body = b'{"request_id": "r1", "subject_id": "s", "features": {"age": 70}}'
    assert gateway.send(body, "/api/v1/ml/predict/demo_score").status_code == 200
    assert gateway.send(body, "/api/v1/ml/predict/demo_score").status_code == 200
    assert gateway.ask(request_id="r1").status_code == 409


def test_one_request_sent_many_times_at_once_is_recorded_once(gateway: Gateway) -> None:
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(gateway.ask(request_id="r1").content))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert len(set(answers)) == 1
    assert len(gateway.recorded()) == 1
    assert gateway.metric('medtower_predictions_total{model="demo_risk",version="1"}') == 1


def test_a_request_without_an_id_gets_one_each_time(gateway: Gateway) -> None:
    assert gateway.ask().json()["request_id"] != gateway.ask().json()["request_id"]
    assert len(gateway.recorded()) == 2


def test_an_unknown_model_is_not_found_and_not_named(gateway: Gateway) -> None:
    answer = gateway.ask("mrn-4711")
    assert (answer.status_code, answer.json()["error"]) == (404, "NOT_FOUND")
    assert "4711" not in answer.text
    assert gateway.metric('medtower_requests_total{code="404",model="unknown",version="0"}') == 1
    assert "4711" not in gateway.http.get("/metrics").text


def test_the_documented_examples_are_answered(gateway: Gateway) -> None:
    for contract in contracts():
        question = example(contract) | {"request_id": contract.name}
        assert gateway.http.post(f"/api/v1/ml/predict/{contract.name}", json=question).status_code == 200


def test_a_version_is_asked_by_the_contract_it_was_approved_with(gateway: Gateway) -> None:
    turned = RISK | {"inputs": list(reversed(RISK["inputs"]))}
    gateway.ask()
    before = gateway.recorded()[-1].features
    publish(gateway.settings, {"demo_risk": Contract.model_validate(turned)}, demo_risk={2: 100})
    assert gateway.ask().json()["version"] == 2
    assert gateway.recorded()[-1].features == list(reversed(before))


def test_the_document_shows_a_question_for_every_model_that_serves(gateway: Gateway) -> None:
    gateway.ask()
    document = gateway.http.get("/openapi.json").json()
    post = document["paths"]["/api/v1/ml/predict/{model}"]["post"]
    examples = post["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"demo_risk", "demo_score"}
    gateway.publish(demo_risk={1: 100}, demo_score={})
    gateway.ask()
    assert "demo_score" not in str(gateway.http.get("/openapi.json").json()["paths"])
