"""Whatever comes in under /v2: an answer in the protocol's form, never a 500, and never a word of what was sent."""

from __future__ import annotations

import copy
import gzip
import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import Gateway

CANARY = "planted canary"  # no request id: those are repeated in the answer, as the protocol has it
IN_A_PATH = "plantedcanary"
NUMBER = 73.4567
PATH = "/v2/models/demo_risk/infer"
LENGTH = "Inference-Header-Content-Length"
TENSOR: dict[str, Any] = {
    "name": "features",
    "shape": [1, 5],
    "datatype": "FP32",
    "data": [NUMBER, 1, 3, 1, None],
}
REQUEST: dict[str, Any] = {
    "inputs": [TENSOR],
    "outputs": [{"name": "prediction", "parameters": {"binary_data": True}}],
    "parameters": {"subject_id": CANARY, "binary_data_output": False},
}
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.just(CANARY),
    st.text(max_size=5),
    st.sampled_from([NUMBER, 1e39, -(2**63), 10**400]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.just(CANARY) | st.text(max_size=3), inner),
    max_leaves=6,
)
PLACES: list[tuple[str | int, ...]] = [
    (),
    ("id",),
    ("inputs",),
    ("inputs", 0),
    ("inputs", 0, "name"),
    ("inputs", 0, "shape"),
    ("inputs", 0, "shape", 0),
    ("inputs", 0, "datatype"),
    ("inputs", 0, "data"),
    ("inputs", 0, "data", 0),
    ("inputs", 0, "data", 1),
    ("inputs", 0, "parameters"),
    ("outputs",),
    ("outputs", 0),
    ("outputs", 0, "name"),
    ("outputs", 0, "parameters", "binary_data"),
    ("parameters",),
    ("parameters", "subject_id"),
    ("parameters", "sequence_id"),
    ("parameters", "timeout"),
    ("parameters", CANARY),
]
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(place: tuple[str | int, ...], value: Any) -> Any:
    if not place:
        return value
    request = copy.deepcopy(REQUEST)
    holder: Any = request
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    return request


def check(gateway: Gateway, body: bytes, caplog: pytest.LogCaptureFixture, **headers: str) -> int:
    caplog.clear()
    answer = gateway.http.post(PATH, content=body, headers=headers)
    assert answer.status_code in (200, 400, 409, 413, 422, 504), answer.text
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]
        assert str(NUMBER) not in answer.text
    assert CANARY not in answer.text
    logged = " ".join(str(record.__dict__) for record in caplog.records if record.name.startswith("medtower"))
    assert CANARY not in logged
    assert str(NUMBER) not in logged
    return answer.status_code


@many
@given(place=st.sampled_from(PLACES), value=values)
def test_a_request_with_one_thing_changed(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, place: tuple[str | int, ...], value: Any
) -> None:
    caplog.set_level(logging.INFO)
    check(gateway, json.dumps(changed(place, value)).encode(), caplog)


@many
@given(
    body=st.binary(max_size=200),
    length=st.integers(-5, 300).map(str),
    encoding=st.sampled_from(["gzip", "deflate", "identity", "br", CANARY]),
)
def test_any_bytes_with_any_header(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, body: bytes, length: str, encoding: str
) -> None:
    headers = {LENGTH: length, "Content-Encoding": encoding}
    assert check(gateway, body, caplog, **headers) in (400, 413)


@many
@given(size=st.integers(-3, 30), tail=st.binary(max_size=30), shape=st.lists(st.integers(-2, 6), max_size=3))
def test_any_bytes_as_a_tensor(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, size: int, tail: bytes, shape: list[int]
) -> None:
    tensor = {
        "name": "features",
        "shape": shape,
        "datatype": "FP32",
        "parameters": {"binary_data_size": size},
    }
    header = json.dumps({"inputs": [tensor], "id": CANARY + "!"}).encode()
    assert check(gateway, header + tail, caplog, **{LENGTH: str(len(header))}) in (400, 422)


def test_a_large_body_is_refused_before_it_is_parsed_packed_or_not(gateway: Gateway) -> None:
    numbers = json.dumps([1.5] * 2_000_000).encode()
    assert gateway.http.post(PATH, content=numbers).status_code == 413
    packed = gzip.compress(numbers)
    assert len(packed) < 256 * 1024
    answer = gateway.http.post(PATH, content=packed, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "larger than" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/demo_risk/infer", 404),
        ("POST", "/v2/models/demo_risk", 405),
        ("POST", "/v2", 405),
        ("POST", "/v2/health/ready", 405),
        ("GET", "/v2/repository/index", 405),
        ("GET", "/v2/plantedcanary", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/", 404),
        ("GET", "/v2/models/plantedcanary", 404),
        ("GET", "/v2/models/demo_risk/plantedcanary", 404),
        ("GET", "/v2/models/demo_risk/versions/plantedcanary", 404),
        ("GET", "/v2/models/demo_risk/versions/0", 404),
        ("GET", "/v2/models/demo_risk/versions/1/plantedcanary", 404),
        ("GET", "/v2/health/plantedcanary", 404),
        ("POST", "/v2/infer", 405),
        ("POST", "/v2/models/infer", 404),
        ("POST", "/v2/models/plantedcanary/infer", 404),
        ("POST", "/v2/models/demo_risk/versions/plantedcanary/infer", 404),
        ("POST", "/v2/models/a/b/c/d/infer", 404),
        ("POST", "/v2/models/demo_risk/versions/99999999999999999999/infer", 404),
    ],
)
def test_a_path_that_is_none_is_refused(gateway: Gateway, method: str, path: str, status: int) -> None:
    answer = gateway.http.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert IN_A_PATH not in answer.text


def test_a_number_of_a_version_that_is_none_for_python_is_none(gateway: Gateway) -> None:
    assert gateway.http.get("/v2/models/demo_risk/versions/²").status_code == 404


def test_a_mistake_that_nobody_foresaw_is_a_500_without_details(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise ValueError(CANARY)

    monkeypatch.setattr("medtower.gateway.v2.requests.question", broken)
    answer = gateway.http.post(PATH, json=REQUEST)
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert CANARY not in answer.text
