"""The PostSync hook: it ends when the reconciler has published this digest and the gateway answers by that table."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.releases import contract

from medtower.domain.release import Release
from medtower.domain.routing import Arm, Route, RoutingTable, Shadow
from medtower.errors import Unavailable
from medtower.serving import routing
from medtower.settings import Settings
from medtower.workflows import await_release as hook

OLD, NEW = "a" * 64, "b" * 64
RELEASE = Release(model="als_risk", version=2, replaces=1, digest=NEW, reason="better")
NO_MODEL = Release(model="als_risk", reason="taken back")


def arm(digest: str, version: int, weight: float = 100, name: str = "current") -> Arm:
    document = {"name": name, "version": version, "digest": digest, "weight": weight}
    return Arm.model_validate({**document, "contract": contract("als_risk")})


def publish(folder: Path, *arms: Arm, shadow: Shadow | None = None, reason: str = "") -> Settings:
    route = Route(model="als_risk", arms=list(arms), shadow=shadow, reason=reason)
    table = RoutingTable(commit="c" * 40, published_at=datetime.now(UTC), routes={"als_risk": route})
    routing.publish(folder / "routing.json", table)
    return Settings(home=folder, routing=folder / "routing.json")


def gateway(*answers: Any) -> httpx.Client:
    """A gateway that gives these answers, the last one for ever: a list of digests that answer, or a status code."""
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v1/ml/models"
        told = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(told, int):
            return httpx.Response(told)
        card = {"name": "als_risk", "released": [{"digest": d, "version": 1} for d in told], "reason": ""}
        return httpx.Response(200, json={"models": [card]})

    return httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(answer))


def test_a_published_version_that_the_gateway_answers_by_is_in_service(tmp_path: Path) -> None:
    chosen = publish(tmp_path, arm(NEW, 2))
    assert "als_risk 2 (digest bbbbbbbbbbbb…) is in service" in hook.await_release(
        chosen, RELEASE, seconds=9, client=gateway([NEW])
    )


def test_a_candidate_beside_the_incumbent_is_in_service(tmp_path: Path) -> None:
    chosen = publish(tmp_path, arm(OLD, 1, 95), arm(NEW, 2, 5, "candidate"))
    assert "als_risk 2" in hook.await_release(chosen, RELEASE, seconds=9, client=gateway([OLD, NEW]))


def test_a_shadow_that_answers_nobody_is_in_service(tmp_path: Path) -> None:
    shadow = Shadow(version=2, digest=NEW, contract=contract("als_risk"))
    chosen = publish(tmp_path, arm(OLD, 1), shadow=shadow)
    assert "als_risk 2" in hook.await_release(chosen, RELEASE, seconds=9, client=gateway([OLD]))


def test_no_model_is_in_service_when_nothing_answers(tmp_path: Path) -> None:
    chosen = publish(tmp_path, reason="taken back")
    assert (
        hook.await_release(chosen, NO_MODEL, seconds=9, client=gateway([]))
        == "als_risk: no model answers, as released"
    )


def test_a_gateway_that_is_behind_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "LOOK_SECONDS", 0)
    chosen = publish(tmp_path, arm(NEW, 2))
    assert "is in service" in hook.await_release(
        chosen, RELEASE, seconds=9, client=gateway(503, [OLD], [NEW])
    )


@pytest.mark.parametrize(
    ("release", "arms", "reason", "answer", "missing"),
    [
        (
            RELEASE,
            [(OLD, 1)],
            "version 2 may not serve: digest mismatch",
            [OLD],
            "may not serve: digest mismatch",
        ),
        (RELEASE, [(NEW, 2)], "", [OLD], "the gateway does not answer by the reconciler's table"),
        (RELEASE, [(NEW, 2)], "", 401, "HTTPStatusError"),
        (NO_MODEL, [(OLD, 1)], "", [OLD], "does not route to it"),
    ],
)
def test_what_is_missing_is_said_at_the_end(
    release: Release, arms: list[tuple[str, int]], reason: str, answer: Any, missing: str, tmp_path: Path
) -> None:
    chosen = publish(tmp_path, *(arm(*a) for a in arms), reason=reason)
    with pytest.raises(Unavailable, match=missing):
        hook.await_release(chosen, release, seconds=0, client=gateway(answer))


def test_the_hook_fails_with_the_reason_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "release.yaml").write_text("model: als_risk\nversion: null\nreason: none\n")
    monkeypatch.setattr(hook, "SECONDS", 0)
    monkeypatch.setattr(hook, "settings", lambda: Settings(home=tmp_path, gateway_url="http://127.0.0.1:9"))
    assert hook.main("als_risk", str(tmp_path / "release.yaml")) == Unavailable.exit_code
    assert "routing" in capfd.readouterr().err
