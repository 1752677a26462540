"""From answers to a V2 response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.inference import TENSOR_OUT
from medtower.gateway.answering.answer import Answer
from medtower.gateway.v2 import binary_codec, json_codec
from medtower.gateway.v2.requests import DATATYPE
from medtower.gateway.v2.types import (
    InferResponse,
    OutputData,
    Question,
    TensorParameters,
)

Parameters = dict[str, str | float | bool]


def encoded(model: str, question: Question, found: Sequence[Answer]) -> tuple[bytes, int | None]:
    """The body of an HTTP response, and the length of its JSON header where bytes follow it (None: all of it is JSON)."""
    values = [each.prediction for each in found]
    output = OutputData(TENSOR_OUT, DATATYPE, [len(values), 1])
    response = InferResponse(model, question.id, parameters(found), [output], version(found))
    if not question.binary:
        output.data = values
        return json_codec.encode(response), None
    content = binary_codec.numbers(values)
    output.parameters = TensorParameters(binary_data_size=len(content))
    header = json_codec.encode(response)
    return header + content, len(header)


def version(found: Sequence[Answer]) -> str:
    """The version that answered; empty when the rows were answered by different ones, which `parameters.rows` then tells apart."""
    first = found[0].version
    return str(first) if all(each.version == first for each in found) else ""


def parameters(found: Sequence[Answer]) -> Parameters:
    """What stands beside the numbers. Of several rows: the lowest confidence, whether any asks for human review or waits for its escalation, and
    in `rows` (a JSON array, because parameters are scalars) what there is to say of each."""
    said = _of_one(found[0]) if len(found) == 1 else _of_several(found)
    said["unit"] = found[0].unit
    said["disclaimer"] = DISCLAIMER
    return said


def _of_one(answer: Answer) -> Parameters:
    said = _of_row(answer)
    if answer.parts:
        said["parts"] = json_codec.encode(answer.parts).decode()
    return said


def _of_several(found: Sequence[Answer]) -> Parameters:
    said: Parameters = {
        "confidence": min(each.confidence for each in found),
        "requires_human_review": any(each.requires_human_review for each in found),
        "rows": json_codec.encode([_row(each) for each in found]).decode(),
    }
    if len({each.digest for each in found}) == 1:
        said["digest"] = found[0].digest
    if escalations := {each.escalation for each in found} - {None}:
        said["escalation"] = "pending" if "pending" in escalations else "delivered"
    return said


def _of_row(answer: Answer) -> Parameters:
    said: Parameters = {
        "digest": answer.digest,
        "confidence": answer.confidence,
        "requires_human_review": answer.requires_human_review,
    }
    for name, value in (
        ("label", answer.label),
        ("review_reason", answer.review_reason),
        ("escalation", answer.escalation),
    ):
        if value is not None:
            said[name] = value
    if answer.cached:
        said["cached"] = True
    return said


def _row(answer: Answer) -> dict[str, Any]:
    parts = {"parts": answer.parts} if answer.parts else {}
    return {"request_id": answer.request_id, "version": answer.version, **_of_row(answer), **parts}
