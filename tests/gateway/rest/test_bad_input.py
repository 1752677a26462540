from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.gateway.conftest import FEATURES, KEY, Gateway, settings_of, started
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.server import wait_until

CANARY = "Zaphod-4711"


@pytest.fixture(scope="module")
def gateway(
    triton_server: tuple[FakeTriton, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One for all: what is refused leaves nothing behind."""
    fake, url = triton_server
    with started(settings_of(tmp_path_factory.mktemp("gateway"), url), fake) as gateway:
        yield gateway


def body(features: str = json.dumps(FEATURES), rest: str = '"subject_id": "s"') -> str:
    return f'{{{rest}, "features": {features}}}'


def feature(name: str, literal: str) -> str:
    return body(
        json.dumps({k: v for k, v in FEATURES.items() if k != name})[:-1] + f', "{name}": {literal}}}'
    )


@pytest.mark.parametrize(
    ("content", "field", "rule"),
    [
        (feature("age", "NaN"), "age", "finite"),
        (feature("age", "Infinity"), "age", "finite"),
        (feature("age", "-Infinity"), "age", "finite"),
        (feature("age", "1e999"), "age", "finite"),
        (feature("visits", "-1e999"), "visits", "finite"),
        (feature("age", "17.5"), "age", "[18, 110] a"),
        (feature("age", "9" * 400), "age", "[18, 110] a"),
        (feature("age", '"Zaphod-4711"'), "age", "a number"),
        (feature("age", "true"), "age", "a number"),
        (feature("age", "[70]"), "age", "a number"),
        (feature("age", "null"), "age", "required"),
        (feature("visits", "2.5"), "visits", "whole number"),
        (feature("sex", '"Zaphod-4711"'), "sex", "one of F, M"),
        (feature("sex", '"F\\u0000"'), "sex", "one of F, M"),
        (feature("sex", '"\\ud800"'), "sex", "one of F, M"),
        (feature("smoker", "1"), "smoker", "true or false"),
        (feature("marker", "5e38"), "marker", "32-bit"),
        (feature("Zaphod-4711", "1"), "features", "does not know"),
        (feature("\\ud800", "1"), "features", "does not know"),
        (body("[1, 2]"), "features", "object"),
        (body("NaN"), "features", "object"),
        ('{"subject_id": "s"}', "features", "required"),
        ('{"features": {}}', "subject_id", "required"),
        (body(rest='"subject_id": ""'), "subject_id", "printable"),
        (body(rest='"subject_id": 4711'), "subject_id", "printable"),
        (body(rest='"subject_id": "a\\u0000"'), "subject_id", "printable"),
        (body(rest='"subject_id": "\\ud800Zaphod-4711"'), "subject_id", "printable"),
        (body(rest='"subject_id": " s"'), "subject_id", "space"),
        (body(rest=f'"subject_id": "{"x" * 201}"'), "subject_id", "200"),
        (body(rest='"subject_id": "s", "request_id": "Zaphod 4711"'), "request_id", "characters"),
        (body(rest='"subject_id": "s", "request_id": ""'), "request_id", "characters"),
        (body(rest='"subject_id": "s", "request_id": 1'), "request_id", "characters"),
        (body(rest='"subject_id": "s", "Zaphod-4711": 1'), "body", "not one of"),
        (body(rest='"subject_id": "s", "subject_id": "t"'), "body", "twice"),
        (feature("age", '70, "age": 71'), "body", "twice"),
        (body(rest='"subject_id": "s", "event_time": "Zaphod-4711"'), "event_time", "ISO 8601"),
        (body(rest='"subject_id": "s", "event_time": 1700000000'), "event_time", "ISO 8601"),
        (body(rest='"subject_id": "s", "event_time": "2026-01-31T09:30:00"'), "event_time", "offset"),
        (body(rest='"subject_id": "s", "event_time": "0001-01-01T00:00:00+14:00"'), "event_time", "ten years"),
        (body(rest='"subject_id": "s", "event_time": "9999-12-31T23:59:59-14:00"'), "event_time", "ten years"),
        ("[]", "body", "object"),
        ('"Zaphod-4711"', "body", "object"),
        ("", "body", "JSON"),
        ("{", "body", "JSON"),
        (body() + "\0", "body", "JSON"),
        ("\ufeff" + body(), "body", "JSON"),
        ("[" * 100_000, "body", "nested"),
        ('{"a":' * 40_000, "body", "nested"),
        (feature("age", "[" * 50_000), "body", "nested"),
        (feature("age", "-1e999"), "age", "finite"),
        (feature("marker", "1e999"), "marker", "finite"),
        (feature("age", '{"age": 70}'), "age", "a number"),
        (body('{"age": 1, "age": 1, "\\u0000": 2}'), "body", "twice"),
        ('{"subject_id": "s", "features": {"\\u0000Zaphod-4711": 1}}', "features", "does not know"),
        (body(rest='"subject_id": "\\udfff\\ud800"'), "subject_id", "printable"),
        (feature("age", '"\\ud800"'), "age", "a number"),
        (feature("age", "9" * 5000), "body", "JSON"),
    ],
)  # fmt: skip
def test_06_a_bad_body_is_refused_by_field_and_rule_without_its_values(
    gateway: Gateway, content: str, field: str, rule: str
) -> None:
    answer = gateway.send(content)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["error"] == "INVALID_INPUT"
    assert problem["field"] == field
    assert rule in problem["rule"]
    assert CANARY not in answer.text
    assert not [p for p in gateway.recorded() if not p.request_id.startswith("good")]


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\x00}\x00", b'{"subject_id": "\xed\xa0\x80"}', b"\x1f\x8b\x08"]
)
def test_a_body_that_is_not_utf_8_is_refused(gateway: Gateway, content: bytes) -> None:
    assert gateway.send(content).json()["field"] == "body"


def test_a_time_to_come_is_refused_but_for_the_clocks_difference(gateway: Gateway) -> None:
    now = datetime.now(UTC)
    soon = (now + timedelta(minutes=4)).isoformat()
    assert gateway.ask(event_time=soon, request_id="good").status_code == 200
    assert gateway.ask(event_time=(now + timedelta(minutes=6)).isoformat()).status_code == 422


def test_06_a_body_announced_with_4_mb_is_refused_before_a_byte_of_it_was_sent(gateway: Gateway) -> None:
    head = f"POST /api/v1/ml/predict/demo_risk HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 4194304\r\n\r\n"
    port = int(gateway.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_an_array_of_two_million_elements_is_refused_before_it_is_parsed(gateway: Gateway) -> None:
    array = "[" + "0," * 1_999_999 + "0]"
    for path in ("predict/demo_risk", "predict", "outcomes"):
        answer = gateway.send(body(array), f"/api/v1/ml/{path}")
        assert (answer.status_code, answer.json()["error"]) == (413, "TOO_LARGE")
    small = "[" + "0," * 99_999 + "0]"
    assert gateway.send(body(small)).json()["rule"] == "must be an object of named values"


@pytest.mark.parametrize("name", ["predict", "outcomes"])
@pytest.mark.parametrize(
    "content", ["NaN", "[" * 100_000, '{"model": "Zaphod-4711", "model": 1}', '"\\ud800"', "\0", "1e999"]
)
def test_the_other_bodies_are_read_as_strictly(gateway: Gateway, name: str, content: str) -> None:
    answer = gateway.send(content, f"/api/v1/ml/{name}")
    assert (answer.status_code, answer.json()["error"]) == (422, "INVALID_INPUT")
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    ("literal", "status"),
    [
        ("NaN", 422),
        ("1e999", 422),
        ("-1e999", 422),
        ("1e400", 422),
        ("true", 422),
        ('"1"', 422),
        ("[1]", 422),
        ("9" * 400, 422),
        ("1", 202),
    ],
)
def test_an_outcome_is_a_finite_number(gateway: Gateway, literal: str, status: int) -> None:
    content = f'{{"request_id": "good", "model": "demo_score", "value": {literal}, "observed_at": "2026-01-31T09:30:00Z"}}'
    assert gateway.send(content, "/api/v1/ml/outcomes").status_code == status


def test_a_body_of_more_than_256_kib_is_refused(gateway: Gateway) -> None:
    answer = gateway.send(body() + " " * 256 * 1024)
    assert (answer.status_code, answer.json()["error"]) == (413, "TOO_LARGE")


def test_a_body_of_unknown_length_is_cut_off_at_256_kib(gateway: Gateway) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while taken < 99_999:
            taken += 1
            yield b" " * 4096

    try:
        answer = gateway.http.post("/api/v1/ml/predict/demo_risk", content=endless())
        assert answer.status_code == 413
    except httpx.HTTPError:  # the connection was closed while the client still wrote
        pass
    assert taken < 99_999
    assert gateway.metric('medtower_requests_total{code="413",model="demo_risk",version="0"}') >= 1


HEAD = f"POST /api/v1/ml/predict/demo_risk HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 100\r\n\r\n"


def test_a_body_that_does_not_come_in_is_given_up(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medtower.gateway.rest.body.DEADLINE", 0.1)
    port = int(gateway.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(HEAD.encode() + b"{")
        answer = b""
        while chunk := connection.recv(4096):  # to the end: the server closes
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"error":"TIMEOUT"' in answer and b"connection: close" in answer.lower()


def test_a_caller_who_hangs_up_is_no_error_of_the_gateway(gateway: Gateway) -> None:
    port = int(gateway.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(HEAD.encode() + b"{")
    counted = 'medtower_requests_total{code="%d",model="demo_risk",version="0"}'
    wait_until(lambda: gateway.metric(counted % 499) or gateway.metric(counted % 500))
    assert (gateway.metric(counted % 499), gateway.metric(counted % 500)) == (1, 0)


def test_a_body_of_exactly_256_kib_is_read(gateway: Gateway) -> None:
    content = body(rest='"subject_id": "s", "request_id": "good2"')
    assert gateway.send(content + " " * (256 * 1024 - len(content))).status_code == 200


@pytest.mark.parametrize("path", ["/nowhere/Zaphod-4711", "/api/v1/ml/predict/Zaphod-4711/x"])
def test_a_path_that_is_not_there_is_not_repeated(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    assert (answer.status_code, answer.json()["error"]) == (404, "NOT_FOUND")
    assert CANARY not in answer.text


def test_the_wrong_method_is_refused(gateway: Gateway) -> None:
    assert gateway.http.get("/api/v1/ml/predict/demo_risk").json()["error"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "key",
    [None, "", "wrong", KEY + "x", "schlüssel".encode()],
    ids=["none", "empty", "wrong", "longer", "not ASCII"],
)
def test_without_the_key_nothing_is_answered(gateway: Gateway, key: str | bytes | None) -> None:
    headers = {} if key is None else {"X-API-Key": key}
    for method, path in (("POST", "predict/demo_risk"), ("POST", "outcomes"), ("GET", "models")):
        answer = httpx.request(method, f"{gateway.url}/api/v1/ml/{path}", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "ApiKey, Bearer"
