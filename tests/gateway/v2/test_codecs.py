"""Bytes to questions and back, without a server."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import struct
import zlib
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from medtower.domain.request_id import CHOSEN
from medtower.errors import FeatureInvalid, ProtocolInvalid
from medtower.gateway.answering.answer import Answer
from medtower.gateway.answering.composition_answer import PartAnswer
from medtower.gateway.v2 import bodies, requests, responses
from medtower.gateway.v2.types import Question

FEATURES: dict[str, Any] = {"name": "features", "shape": [1, 3], "datatype": "FP32"}
JSON = FEATURES | {"data": [1, 2.5, None]}
BINARY = FEATURES | {"parameters": {"binary_data_size": 12}}
NUMBERS = struct.pack("<3f", 1, 2.5, 4)


def read(request: dict[str, Any] | bytes, tail: bytes = b"", *, length: bytes | None = None) -> Question:
    header = request if isinstance(request, bytes) else json.dumps(request).encode()
    announced = length if length is not None else str(len(header)).encode() if tail else None
    return requests.question(header + tail, announced, 3)


def test_flat_and_nested_data_are_the_same_rows() -> None:
    assert read({"inputs": [JSON]}).rows == [[1.0, 2.5, None]]
    assert read({"inputs": [JSON | {"data": [[1, 2.5, None]]}]}).rows == [[1.0, 2.5, None]]
    two = {"shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
    nested = {"shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6]]}
    assert read({"inputs": [JSON | two]}).rows == read({"inputs": [JSON | nested]}).rows


def test_bytes_are_rows_of_little_endian_floats() -> None:
    assert read({"inputs": [BINARY]}, NUMBERS).rows == [(1.0, 2.5, 4.0)]
    two = FEATURES | {"shape": [2, 3], "parameters": {"binary_data_size": 24}}
    assert read({"inputs": [two]}, NUMBERS * 2).rows == [(1.0, 2.5, 4.0)] * 2
    (row,) = read({"inputs": [BINARY]}, struct.pack("<3f", 1, 2, math.nan)).rows
    assert math.isnan(row[2] or 0)


def test_an_id_is_kept_and_an_empty_one_is_replaced() -> None:
    asked = read({"id": "r1", "inputs": [JSON]})
    assert (asked.id, asked.chosen_id) == ("r1", True)
    made = read({"id": "", "inputs": [JSON]})
    assert (CHOSEN.fullmatch(made.id) is not None, made.chosen_id) == (True, False)
    with pytest.raises(FeatureInvalid, match=r"^id: must be 1 to"):
        read({"id": "two words", "inputs": [JSON]})


def test_the_time_that_a_caller_gives_is_in_microseconds_and_0_is_none() -> None:
    assert read({"inputs": [JSON], "parameters": {"timeout": 250_000}}).seconds == 0.25
    assert read({"inputs": [JSON], "parameters": {"timeout": 0}}).seconds is None


@pytest.mark.parametrize(
    ("asked", "binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": []}, False),
        ({"outputs": [{"name": "prediction"}]}, False),
        ({"outputs": [{"name": "prediction", "parameters": {"binary_data": True}}]}, True),
        ({"outputs": [{"name": "prediction"}], "parameters": {"binary_data_output": True}}, True),
        (
            {
                "outputs": [{"name": "prediction", "parameters": {"binary_data": False}}],
                "parameters": {"binary_data_output": True},
            },
            False,
        ),
    ],
)
def test_the_output_comes_as_it_was_asked_for(asked: dict[str, Any], binary: bool) -> None:
    assert read({"inputs": [JSON]} | asked).binary is binary


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"inputs": []},
        {"inputs": [JSON, JSON]},
        {"inputs": [JSON | {"name": "other"}]},
        {"inputs": [JSON | {"datatype": "FP64"}]},
        {"inputs": [JSON | {"shape": [3]}]},
        {"inputs": [JSON | {"shape": [1, 4]}]},
        {"inputs": [JSON | {"shape": [-1, 3]}]},
        {"inputs": [JSON | {"shape": [129, 3]}]},
        {"inputs": [JSON | {"shape": [2**70, 3]}]},
        {"inputs": [JSON | {"data": [1, 2]}]},
        {"inputs": [JSON | {"data": [1, 2, 3, 4]}]},
        {"inputs": [JSON | {"data": [1, 2, [3]]}]},
        {"inputs": [JSON | {"data": [[1, 2]]}]},
        {"inputs": [JSON | {"data": [[1, 2, 3], 4]}]},
        {"inputs": [JSON | {"data": [1, 2, "3"]}]},
        {"inputs": [JSON | {"data": [1, 2, True]}]},
        {"inputs": [JSON | {"data": None}]},
        {"inputs": [BINARY]},
        {"inputs": [JSON | {"parameters": {"shared_memory_region": "a"}}]},
        {"inputs": [JSON], "outputs": [{"name": "other"}]},
        {"inputs": [JSON], "outputs": [{"name": "prediction"}] * 2},
        {"inputs": [JSON], "outputs": [{"name": "prediction", "parameters": {"classification": 1}}]},
        {"inputs": [JSON], "parameters": {"sequence_id": 1}},
        {"inputs": [JSON], "parameters": {"sequence_id": "a"}},
        {"inputs": [JSON], "parameters": {"sequence_end": True}},
        {"inputs": [JSON], "parameters": {"timeout": -1}},
        {"inputs": [JSON], "parameters": {"subject_id": 7}},
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, NaN]}]}',
        b'{"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 1e999]}]}',
        b'{"id": "\\ud800", "inputs": []}',
        b'{"inputs": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_request_is_refused(request_: dict[str, Any] | bytes) -> None:
    with pytest.raises(ProtocolInvalid):
        read(request_)


@pytest.mark.parametrize("length", [b"", b"-1", b"x", b"1e3", b"99999", b"9" * 5000, b"\xb2"])
def test_a_header_length_beyond_the_body_is_refused(length: bytes) -> None:
    with pytest.raises(ProtocolInvalid, match="Inference-Header-Content-Length"):
        read({"inputs": [BINARY]}, NUMBERS, length=length)


@pytest.mark.parametrize(
    ("tensor", "tail"),
    [
        (BINARY, NUMBERS + b"\0"),
        (BINARY, NUMBERS[:-1]),
        (FEATURES | {"parameters": {"binary_data_size": 11}}, NUMBERS[:-1]),
        (FEATURES | {"parameters": {"binary_data_size": 2**31}}, NUMBERS),
        (BINARY | {"data": [1, 2, 3]}, NUMBERS),
        (JSON, NUMBERS),
    ],
)
def test_bytes_that_the_header_does_not_account_for_are_refused(tensor: dict[str, Any], tail: bytes) -> None:
    with pytest.raises(ProtocolInvalid):
        read({"inputs": [tensor]}, tail)


def test_a_packed_body_is_unpacked_up_to_a_limit() -> None:
    assert bodies.decompressed(gzip.compress(b"abc"), bodies.GZIP) == b"abc"
    assert bodies.decompressed(zlib.compress(b"abc"), bodies.ZLIB) == b"abc"
    assert bodies.decompressed(gzip.compress(b"a" * 10), bodies.GZIP, largest=10) == b"a" * 10
    with pytest.raises(HTTPException) as refused:
        bodies.decompressed(gzip.compress(b"a" * 11), bodies.GZIP, largest=10)
    assert refused.value.status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"abc", gzip.compress(b"abc")[:-1], gzip.compress(b"abc") + b"x", gzip.compress(b"a") * 2],
    ids=["empty", "plain", "cut", "longer", "two"],
)
def test_what_is_not_one_packed_stream_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolInvalid):
        bodies.decompressed(body, bodies.GZIP)


PLAIN: dict[str, Any] = {
    "request_id": "r",
    "model": "demo_risk",
    "version": 1,
    "digest": "a" * 64,
    "prediction": 0.75,
    "unit": "1",
    "confidence": 0.75,
    "requires_human_review": False,
}


def answered(**changes: Any) -> Answer:
    return Answer(**PLAIN | changes)


def test_rows_that_two_versions_answered_are_told_apart() -> None:
    rows = [answered(), answered(version=2, digest="b" * 64, confidence=0.5, requires_human_review=True)]
    said = responses.parameters(rows)
    assert responses.version(rows) == ""
    assert "digest" not in said
    assert (said["confidence"], said["requires_human_review"]) == (0.5, True)
    assert [(each["version"], each["digest"][0]) for each in json.loads(str(said["rows"]))] == [
        (1, "a"),
        (2, "b"),
    ]
    body, _ = responses.encoded("demo_risk", read({"inputs": [JSON]}), rows)
    assert "model_version" not in json.loads(body)


def test_a_response_says_why_a_person_should_look() -> None:
    said = responses.parameters([answered(requires_human_review=True, review_reason="doubt", label="event")])
    assert (said["review_reason"], said["label"]) == ("doubt", "event")


def test_a_response_tells_the_parts_of_a_composition_and_an_escalation() -> None:
    part = PartAnswer("own", "demo_risk", prediction=0.5)
    parts = [dataclasses.asdict(part)]
    composed = answered(escalation="pending", cached=True, parts=(part,))
    said = responses.parameters([composed])
    assert (said["escalation"], said["cached"], json.loads(str(said["parts"]))) == ("pending", True, parts)
    both = responses.parameters([composed, answered(escalation="delivered")])
    assert both["escalation"] == "pending"
    assert [each.get("parts") for each in json.loads(str(both["rows"]))] == [parts, None]
    assert responses.parameters([answered(), answered(escalation="delivered")])["escalation"] == "delivered"
    plain = responses.parameters([answered(), answered()])
    assert not {"escalation", "cached", "parts"} & plain.keys()
