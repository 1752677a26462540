"""What was answered is shown again: to those who may, without features, and in pages that fit together."""

from __future__ import annotations

import socket
import time
from contextlib import closing

import httpx
import pytest
from pydantic import SecretStr
from tests.gateway.conftest import KEY, Gateway, grant, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.rest.conftest import shipped

from medtower.domain.disclaimer import DISCLAIMER
from medtower.settings import Settings

HISTORY = "/api/v1/ml/predictions/history"


def test_a_prediction_is_shown_with_who_asked_and_never_its_features(recorded: Gateway) -> None:
    recorded.ask(request_id="r1", subject_id="Zaphod-4711")
    shipped(recorded)
    answer = recorded.http.get(HISTORY)
    assert answer.status_code == 200
    page = answer.json()
    (shown,) = page["predictions"]
    assert (shown["request_id"], shown["model"], shown["version"]) == ("r1", "demo_risk", 1)
    assert (shown["prediction"], shown["confidence"]) == (0.75, 0.75)
    assert (shown["arm"], shown["caller"], shown["requires_human_review"]) == ("current", "clients", False)
    assert len(shown["subject"]) == 64
    assert "70.5" not in answer.text
    assert "Zaphod" not in answer.text
    assert (page["next"], page["not_yet_shown"], page["disclaimer"]) == (None, 0, DISCLAIMER)


def test_pages_follow_each_other_to_the_end(recorded: Gateway) -> None:
    for n in range(7):
        recorded.ask(request_id=f"r{n}")
    recorded.ask("demo_score", request_id="other")
    shipped(recorded)
    found, before = [], ""
    while before is not None:
        page = recorded.http.get(f"{HISTORY}?limit=3&model=demo_risk{before and '&before=' + before}").json()
        found += [shown["request_id"] for shown in page["predictions"]]
        before = page["next"]
    assert found == [f"r{n}" for n in reversed(range(7))]


def test_what_is_not_shipped_yet_is_counted(recorded: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = recorded.app.state.parts.record.spool
    monkeypatch.setattr(spool, "depth", lambda: (3, 1.5))
    assert recorded.http.get(HISTORY).json()["not_yet_shown"] == 3
    assert recorded.http.get("/api/v1/ml/stats").json()["spool"] == {"rows": 3, "oldest_seconds": 1.5}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=1001", 422),
        ("limit=Zaphod", 422),
        ("before=Zaphod", 422),
        ("before=99999999999999999~r1", 422),
        ("before=9999999999999999~r1", 200),
        ("before=1~r1", 200),
        ("before=1~r1~screen", 200),
        ("model=demo_rusk", 404),
        ("model=../x", 404),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(recorded: Gateway, query: str, status: int) -> None:
    answer = recorded.http.get(f"{HISTORY}?{query}")
    assert answer.status_code == status
    assert "Zaphod" not in answer.text


def test_a_caller_of_one_model_sees_no_other(recorded: Gateway) -> None:
    grant(recorded.settings, "ward", "key-of-the-ward", "clinician", models=frozenset({"demo_score"}))
    recorded.ask(request_id="r1")
    recorded.ask("demo_score", request_id="r2")
    shipped(recorded)
    with httpx.Client(base_url=recorded.url, headers={"X-API-Key": "key-of-the-ward"}) as ward:
        page = ward.get(HISTORY).json()
        assert [shown["request_id"] for shown in page["predictions"]] == ["r2"]
        assert ward.get(f"{HISTORY}?model=demo_risk").status_code == 404
        assert ward.get("/api/v1/ml/models/demo_risk/performance").status_code == 404
        assert ward.get("/api/v1/ml/stats").status_code == 403
    assert httpx.get(recorded.url + HISTORY).status_code == 401


PATHS = (HISTORY, "/api/v1/ml/stats", "/api/v1/ml/models/demo_risk/performance")


@pytest.mark.parametrize("path", PATHS)
def test_without_a_database_it_says_so(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    assert (answer.status_code, answer.json()["error"]) == (503, "UNAVAILABLE")
    assert "MEDTOWER_DSN" in answer.json()["message"]


@pytest.mark.parametrize("path", PATHS)
def test_a_database_that_is_down_or_hangs_is_said_in_time(
    settings: Settings, triton: FakeTriton, path: str
) -> None:
    # it takes the connection and says nothing
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        dsn = SecretStr(f"postgresql://u:secret@127.0.0.1:{silent.getsockname()[1]}/medtower")
        with started(settings.model_copy(update={"dsn": dsn}), triton) as gateway:
            start = time.monotonic()
            answer = gateway.http.get(path)
            assert time.monotonic() - start < 5
            assert gateway.ask().status_code == 200
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    message = answer.json()["message"]
    assert message.startswith("postgres is unavailable")
    assert "predictions are answered" in message
    assert "secret" not in message
    assert KEY not in message
