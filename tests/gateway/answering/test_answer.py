"""What is said of one prediction, to whoever asks and however often."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest
from tests.gateway.conftest import FEATURES, KEY, Gateway

from medtower.gateway.access.headers import HEADERS
from medtower.gateway.answering.answer import Answer
from medtower.gateway.answering.composition_answer import PartAnswer
from medtower.gateway.rest import answers

ALONE = Answer(
    model="demo_risk",
    version=1,
    digest="a" * 64,
    request_id="r",
    prediction=0.75,
    unit="1",
    confidence=0.75,
    requires_human_review=False,
)
COMPOSED = Answer.of(
    json.dumps(json.loads(ALONE.json()) | {"parts": [{"name": "own", "model": "demo_risk", "used": True}]})
)
OLDER = (
    '{"model":"demo_risk","version":7,"digest":"d","request_id":"r1","prediction":1e+16,"unit":"1","label":null,"confidence":1.0,'
    '"requires_human_review":false,"review_reason":null,"escalation":null,"disclaimer":"as it was then","new":"of a release that was taken back"}'
)
PREDICT, INFER = "/api/v1/ml/predict/demo_risk", "/v2/models/demo_risk/infer"
TENSOR = {"name": "features", "shape": [1, 5], "datatype": "FP32", "data": [70.5, 1, 3, 1, None]}


@pytest.mark.parametrize(("answer", "shown"), [(ALONE, answers.Answer), (COMPOSED, answers.ComposedAnswer)])
def test_an_answer_is_what_the_documentation_shows(answer: Answer, shown: type[answers.Answer]) -> None:
    said = json.loads(answer.json())
    assert list(said) == list(shown.model_fields)
    assert json.loads(shown.model_validate(said).model_dump_json()) == said
    assert Answer.of(answer.json().decode()) == answer
    assert not answer.parts or answer.parts == (PartAnswer("own", "demo_risk", used=True),)


def test_an_answer_that_another_release_kept_is_repeated_as_it_stands_there(gateway: Gateway) -> None:
    gateway.ask(request_id="r1")
    spool = gateway.app.state.parts.record.spool
    spool._writer.execute("UPDATE answers SET answer = ?", (OLDER,))
    again = gateway.ask(request_id="r1")
    assert (again.status_code, again.text) == (200, OLDER)
    assert gateway.metric('medtower_requests_total{code="200",model="demo_risk",version="7"}') == 1


def test_a_request_without_an_id_leaves_no_answer_in_the_spool(gateway: Gateway) -> None:
    given = gateway.ask().json()["request_id"]
    gateway.ask(request_id="r1")
    spool = gateway.app.state.parts.record.spool
    (kept,) = spool._writer.execute("SELECT request_id FROM answers").fetchall()
    assert kept == ("r1",)
    assert {p.request_id for p in gateway.recorded()} == {given, "r1"}


@pytest.mark.parametrize("part", ["record", "access"])
@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_a_mistake_that_nobody_foresaw_tells_nothing_and_leaves_like_every_other_error(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str, path: str
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("Zaphod-4711")

    where = gateway.app.state.parts.record if part == "record" else gateway.app.state.parts.access
    monkeypatch.setattr(where, "keep_unrepeatable" if part == "record" else "admit", broken)
    body = {"subject_id": "s", "features": FEATURES} if path == PREDICT else {"inputs": [TENSOR]}
    with caplog.at_level(logging.ERROR):
        answer = httpx.post(gateway.url + path, json=body, headers={"X-API-Key": KEY})
    assert answer.status_code == 500
    assert "nobody foresaw" in answer.text
    assert "Zaphod" not in answer.text + "".join(answer.headers.values())
    assert [answer.headers.get_list(name.decode()) for name, _ in HEADERS] == [
        [v.decode()] for _, v in HEADERS
    ]
    assert [record.getMessage() for record in caplog.records] == ["no answer"]
    monkeypatch.undo()
    model = "demo_risk" if part == "record" else "unknown"
    assert gateway.metric(f'medtower_errors_total{{model="{model}",reason="internal"}}') == 1


def test_no_layer_of_the_framework_stands_around_a_prediction(gateway: Gateway) -> None:
    layers, layer = [], gateway.app.middleware_stack
    while layer is not None:
        layers.append(type(layer).__name__)
        layer = getattr(layer, "_app", None)
    assert layers == ["Observed", "Guard", "OpenInference", "Predictions", "ServerErrorMiddleware"]
