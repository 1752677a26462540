"""The door of the running service: row 21 of the matrix, what is open on this machine, and what nobody learns who may not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route
from tests.gateway.access.provider import AUDIENCE, ISSUER, key_set, public, rsa_key, token
from tests.gateway.conftest import FEATURES, KEY, Gateway, grant, started
from tests.gateway.fake_triton import FakeTriton

from medtower.adapters import api_keys
from medtower.domain.access import MAY, CallerRole
from medtower.gateway.access.headers import HEADERS
from medtower.gateway.access.identify import ATTEMPTS
from medtower.gateway.rest import documented
from medtower.settings import Settings

FAR = "192.0.2.7"
PROXIED = {"X-Forwarded-For": FAR}  # a proxy on this machine passes it on: not from here
V2 = [
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("GET", "/v2/models/demo_risk"),
    ("GET", "/v2/models/demo_risk/ready"),
    ("GET", "/v2/models/demo_risk/config"),
    ("GET", "/v2/models/demo_risk/versions/1"),
    ("POST", "/v2/models/demo_risk/infer"),
    ("POST", "/v2/models/demo_risk/versions/1/infer"),
    ("POST", "/v2/repository/index"),
]
QUESTION = {"subject_id": "s", "features": FEATURES}


@pytest.fixture
def gateway(settings: Settings, triton: FakeTriton, tmp_path: Path) -> Iterator[Gateway]:
    """The gateway with an identity provider besides its keys."""
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(key_set(public("r1", rsa_key("r1"))))
    oidc = {"oidc_issuer": ISSUER, "oidc_audience": AUDIENCE, "oidc_jwks": str(jwks)}
    with started(settings.model_copy(update=oidc), triton) as running:
        yield running


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Method and path of everything that the application answers, with values in place of parameters."""
    found = [*app.routes, *documented.predictions().routes]
    plain = [
        (method, re.sub(r"{[^}]*}", "demo_risk", route.path))
        for route in found
        if isinstance(route, Route | APIRoute)
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]
    assert len(plain) >= 10
    return [*plain, ("GET", "/docs/assets/swagger-ui.css"), *V2]  # what is no route of the framework


def far(gateway: Gateway, method: str, path: str, *, peer: str = FAR, **more: Any) -> httpx.Response:
    """Ask as another machine does."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(gateway.app, raise_app_exceptions=False, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


def key_of(gateway: Gateway, identity: str, role: CallerRole, **more: Any) -> dict[str, str]:
    secret = api_keys.new_secret(identity)
    grant(gateway.settings, identity, secret, role, **more)
    return {"X-API-Key": secret}


def test_21_without_a_login_every_route_is_401(gateway: Gateway) -> None:
    for n, (method, path) in enumerate([*routes(gateway.app), ("GET", "/nowhere"), ("DELETE", "/v2/x")]):
        answer = far(gateway, method, path, peer=f"192.0.2.{n}")
        assert (path, answer.status_code) == (path, 401)
        assert answer.headers["www-authenticate"]
        assert "demo_risk" not in answer.text


def test_21_without_a_role_every_route_is_403(gateway: Gateway) -> None:
    login = {"Authorization": f"Bearer {token(role='nurse')}"}
    for method, path in routes(gateway.app):
        answer = httpx.request(method, gateway.url + path, headers=login | PROXIED)
        assert (method, path, answer.status_code) == (method, path, 403)


ACTIONS = {
    ("POST", "/api/v1/ml/predict/demo_risk"): "predict",
    ("POST", "/api/v1/ml/predict"): "predict",
    ("POST", "/v2/models/demo_risk/infer"): "predict",
    ("POST", "/api/v1/ml/outcomes"): "outcome",
    ("GET", "/api/v1/ml/models"): "models",
    ("GET", "/v2/models/demo_risk"): "models",
    ("GET", "/v2/health/ready"): "models",
    ("POST", "/v2/repository/index"): "models",
    ("GET", "/api/v1/ml/predictions/history"): "history",
    ("GET", "/api/v1/ml/models/demo_risk/performance"): "performance",
    ("GET", "/api/v1/ml/stats"): "stats",
    ("POST", "/api/v1/ml/batch?model=demo_risk"): "batch",
    ("GET", "/api/v1/ml/routing"): "operate",
    ("GET", "/metrics"): "operate",
    ("GET", "/health/ready"): "operate",
    ("GET", "/docs"): "operate",
    ("GET", "/openapi.json"): "operate",
}


@pytest.mark.parametrize("role", MAY)
def test_21_each_role_may_what_the_table_says_and_the_rest_is_403(gateway: Gateway, role: CallerRole) -> None:
    assert set(ACTIONS.values()) == {action for may in MAY.values() for action in may}
    login = key_of(gateway, f"a-{role}", role)
    for (method, path), action in ACTIONS.items():
        status = httpx.request(method, gateway.url + path, headers=login | PROXIED).status_code
        assert (path, status == 403) == (path, action not in MAY[role])
        assert status != 401


def test_health_metrics_and_documentation_are_open_on_this_machine(gateway: Gateway) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/v2/health/live", "/docs", "/openapi.json"):
        assert httpx.get(gateway.url + path).status_code == 200
    assert httpx.get(gateway.url + "/api/v1/ml/models").status_code == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_what_a_proxy_on_this_machine_passes_on_does_not_come_from_it(gateway: Gateway, header: str) -> None:
    for value in ("127.0.0.1", "198.51.100.9"):
        assert httpx.get(f"{gateway.url}/metrics", headers={header: value}).status_code == 401


def test_another_machine_cannot_say_that_it_is_this_one(gateway: Gateway) -> None:
    for name in ("X-Forwarded-For", "X-Real-IP", "Host", "Origin"):
        assert far(gateway, "GET", "/metrics", headers={name: "127.0.0.1"}).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/health/../api/v1/ml/models",
        "/metrics/../api/v1/ml/models",
        "//health/live",
        "/docs/assets/../../api/v1/ml/models",
        "/%68ealth/../v2",
    ],
)
def test_a_detour_past_an_open_path_leads_nowhere(gateway: Gateway, path: str) -> None:
    with httpx.Client() as http:
        request = http.build_request("GET", gateway.url)
        request.url = request.url.copy_with(raw_path=path.encode())
        assert http.send(request).status_code in (401, 403, 404)


@pytest.mark.parametrize(
    "name", ["key", "api_key", "x-api-key", "X-API-Key", "access_token", "token", "authorization"]
)
def test_a_login_in_the_address_a_cookie_or_the_body_is_none(gateway: Gateway, name: str) -> None:
    for value in (KEY, token(), f"Bearer {token()}"):
        path = "/api/v1/ml/predict/demo_risk"
        assert httpx.post(gateway.url + path, params={name: value}, json=QUESTION).status_code == 401
        assert httpx.post(gateway.url + path, cookies={name: value}, json=QUESTION).status_code == 401
        assert httpx.post(gateway.url + path, json=QUESTION | {name: value}).status_code == 401


def test_a_key_may_be_sent_as_a_bearer_token_and_a_person_logs_in_with_one(gateway: Gateway) -> None:
    ask = gateway.url + "/api/v1/ml/predict/demo_risk"
    assert httpx.post(ask, json=QUESTION, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert httpx.post(ask, json=QUESTION, headers={"Authorization": f"Bearer {token()}"}).status_code == 200
    machine, person = (p.caller for p in gateway.recorded())
    assert machine == "clients"
    assert re.fullmatch(r"oidc:[0-9a-f]{32}", person)


def test_two_logins_are_none(gateway: Gateway) -> None:
    twice = [("X-API-Key", KEY), ("X-API-Key", KEY)]
    assert httpx.get(f"{gateway.url}/api/v1/ml/models", headers=twice).status_code == 401
    both = {"X-API-Key": KEY, "Authorization": f"Bearer {token()}"}
    assert httpx.get(f"{gateway.url}/api/v1/ml/models", headers=both).status_code == 401


def test_a_login_that_is_not_ascii_or_huge_is_refused_and_not_repeated(gateway: Gateway) -> None:
    for value in (b"\xc3\xa9\xff", b"Zaphod-4711" * 500):
        answer = httpx.get(f"{gateway.url}/api/v1/ml/models", headers=[(b"X-API-Key", value)])
        assert answer.status_code == 401
        assert "Zaphod" not in answer.text


def ask(gateway: Gateway, login: dict[str, str], model: str) -> dict[str, httpx.Response]:
    """Every way to name a model."""
    named = {**QUESTION, "model": model}
    url = gateway.url
    return {
        "predict": httpx.post(f"{url}/api/v1/ml/predict/{model}", json=QUESTION, headers=login),
        "named": httpx.post(f"{url}/api/v1/ml/predict", json=named, headers=login),
        "performance": httpx.get(f"{url}/api/v1/ml/models/{model}/performance", headers=login),
        "v2": httpx.get(f"{url}/v2/models/{model}", headers=login),
        "ready": httpx.get(f"{url}/v2/models/{model}/ready", headers=login),
        "config": httpx.get(f"{url}/v2/models/{model}/config", headers=login),
        "infer": httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": []}, headers=login),
        "version": httpx.get(f"{url}/v2/models/{model}/versions/2", headers=login),
    }


def test_a_model_out_of_scope_answers_as_one_that_does_not_exist(gateway: Gateway) -> None:
    login = key_of(gateway, "ward-3", "clinician", models=("demo_risk",))
    there, nowhere = ask(gateway, login, "demo_score"), ask(gateway, login, "no_such_model")
    for way, answer in there.items():
        assert (way, answer.status_code, answer.content) == (way, 404, nowhere[way].content)
        assert {k: v for k, v in answer.headers.items() if k != "date"} == {
            k: v for k, v in nowhere[way].headers.items() if k != "date"
        }
    assert {a.status_code for a in ask(gateway, login, "demo_risk").values()} & {200}


def test_lists_show_what_is_in_scope_and_an_outcome_of_another_model_is_of_none(gateway: Gateway) -> None:
    login = key_of(gateway, "ward-3", "clinician", models=("demo_risk",))
    listed = httpx.get(f"{gateway.url}/api/v1/ml/models", headers=login)
    assert [m["name"] for m in listed.json()["models"]] == ["demo_risk"]
    index = httpx.post(f"{gateway.url}/v2/repository/index", headers=login)
    assert {m["name"] for m in index.json()} == {"demo_risk"}
    truth = {"request_id": "r1", "value": 1, "observed_at": "2026-01-31T09:30:00Z"}
    told = [
        httpx.post(f"{gateway.url}/api/v1/ml/outcomes", json=truth | {"model": model}, headers=login)
        for model in ("demo_score", "no_such_model")
    ]
    assert (told[0].status_code, told[0].content) == (422, told[1].content)


def test_a_revoked_key_is_401_from_the_next_request_on(gateway: Gateway) -> None:
    login = key_of(gateway, "ward-3", "clinician")
    ask = f"{gateway.url}/api/v1/ml/models"
    assert httpx.get(ask, headers=login).status_code == 200
    path = gateway.settings.path("access")
    api_keys.change(path, "ward-3", lambda key: key.taken_back(datetime.now(UTC)))
    assert httpx.get(ask, headers=login).status_code == 401


def test_a_key_file_that_others_can_read_closes_the_service(gateway: Gateway) -> None:
    gateway.settings.path("access").chmod(0o644)
    answer = gateway.http.get("/api/v1/ml/models")
    assert (answer.status_code, answer.json()["error"]) == (503, "UNAVAILABLE")
    assert "access.json" not in answer.text
    gateway.settings.path("access").chmod(0o600)
    assert gateway.http.get("/api/v1/ml/models").status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/ml/models", "/v2/models/demo_risk"])
def test_too_much_at_once_is_429_and_says_when_to_come_back(gateway: Gateway, path: str) -> None:
    login = key_of(gateway, "ward-3", "clinician", rate=0.01, burst=3)
    codes = [httpx.get(gateway.url + path, headers=login).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    answer = httpx.get(gateway.url + path, headers=login)
    assert 1 <= int(answer.headers["retry-after"]) <= 100
    assert answer.headers.get_list("retry-after") == [answer.headers["retry-after"]]
    if path.startswith("/api"):
        assert answer.json()["error"] == "RATE_LIMITED"
    assert gateway.http.get(path).status_code == 200  # others are not held up


def test_an_address_that_only_guesses_is_429(gateway: Gateway) -> None:
    peer = "203.0.113.9"
    codes = [far(gateway, "GET", "/v2", peer=peer).status_code for _ in range(int(ATTEMPTS.burst) + 20)]
    assert set(codes[: int(ATTEMPTS.burst)]) == {401}
    assert 429 in codes
    assert far(gateway, "GET", "/v2", peer="203.0.113.10").status_code == 401


def test_the_security_headers_are_on_every_answer(gateway: Gateway) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    gateway.app.get("/broken")(broken)
    url, key = gateway.url, {"X-API-Key": KEY}
    answers = [
        httpx.get(f"{url}/api/v1/ml/models", headers=key),
        httpx.post(f"{url}/api/v1/ml/predict/demo_risk", json=QUESTION, headers=key),
        httpx.post(f"{url}/api/v1/ml/predict/demo_risk", json={}, headers=key),
        httpx.post(f"{url}/api/v1/ml/predict/nothing", json=QUESTION, headers=key),
        httpx.get(f"{url}/api/v1/ml/models"),
        httpx.get(f"{url}/v2"),
        httpx.get(f"{url}/v2/models/demo_risk", headers=key),
        httpx.delete(f"{url}/api/v1/ml/models", headers=key),
        httpx.get(f"{url}/nowhere", headers=key),
        httpx.get(f"{url}/broken", headers=key),
        httpx.get(f"{url}/docs"),
        httpx.get(f"{url}/docs/assets/swagger-ui.css"),
        httpx.get(f"{url}/metrics"),
    ]
    assert {a.status_code for a in answers} == {200, 401, 404, 405, 422, 500}
    for answer in answers:
        for name, value in HEADERS:
            assert len(answer.headers.get_list(name.decode())) == 1, (answer.url, name)
            if answer.url.path != "/docs":
                assert answer.headers[name.decode()] == value.decode()
        assert "strict-transport-security" not in answer.headers


def test_callers_are_in_the_log_by_their_id_only(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.ask("nothing")
    httpx.post(
        f"{gateway.url}/api/v1/ml/predict/nothing",
        json=QUESTION,
        headers={"Authorization": f"Bearer {token()}"},
    )
    told = [r.caller for r in caplog.records if r.message == "no answer"]  # type: ignore[attr-defined]
    assert told[0] == "clients"
    assert told[1].startswith("oidc:")
    everything = " ".join(str(vars(record)) for record in caplog.records)
    assert KEY not in everything
    assert "aphod" not in everything
    assert "person-1" not in everything
