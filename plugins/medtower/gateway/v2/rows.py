"""Rows of numbers as named features, and as the cases that are answered and kept.

A row is named by the contract that the model's metadata show, or by the pinned version's. Each arm then encodes the names by its own contract, so a
candidate whose contract orders its inputs otherwise gets what the caller meant. A text comes as the columns that it is hashed into.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from datetime import datetime

from medtower.domain.contract import Contract, Input
from medtower.domain.text_hashing import Buckets
from medtower.errors import FeatureInvalid
from medtower.gateway.answering.case import Ask, Case, case_of, encoded
from medtower.gateway.answering.plan import plan_of
from medtower.gateway.v2.types import MOST_ROWS, Number, Question

Value = float | str | bool | list[float] | Buckets | None
COLUMNS = ("text", "sequence")
LONGEST_ID = 100
SUFFIX = len(f".{MOST_ROWS - 1}")


def cases(key: bytes, contract: Contract, question: Question, now: datetime) -> list[Case]:
    """One case a row; row i of several has the request id `<id>.<i>`. Raises FeatureInvalid when any row breaks the contract, so that none is answered then."""
    if len(question.rows) == 1:
        return [_case(key, contract, question, question.rows[0], question.id, now)]
    if len(question.id) > LONGEST_ID - SUFFIX:
        raise FeatureInvalid("id", f"must be at most {LONGEST_ID - SUFFIX} characters for several rows")
    found = []
    for i, row in enumerate(question.rows):
        try:
            case = _case(key, contract, question, row, f"{question.id}.{i}", now)
            encoded(contract, case.question)
        except FeatureInvalid as error:
            raise FeatureInvalid(f"row {i}, {error.field}", error.rule) from None
        found.append(case)
    return found


def features(contract: Contract, row: Sequence[Number]) -> dict[str, Value]:
    """The named features of `row` [width]. Raises FeatureInvalid for a number that stands for no category or truth value."""
    if len(row) == len(contract.inputs):
        return {spec.name: _value(spec, number) for spec, number in zip(contract.inputs, row, strict=True)}
    return {
        spec.name: _several(spec, row[columns]) if spec.dtype in COLUMNS else _value(spec, row[columns][0])
        for spec, columns in zip(contract.inputs, contract.slices, strict=True)
    }


def _case(
    key: bytes, contract: Contract, question: Question, row: Sequence[Number], request_id: str, now: datetime
) -> Case:
    subject = question.id if question.subject_id is None else question.subject_id
    plan = plan_of(contract)
    numbers = plan.row(row)
    if numbers is None:
        named, known = features(contract, row), None
        numbers = array("f", map(_number, row))
    else:
        named, known = plan.named(row), (contract, numbers)
    ask = Ask(request_id, question.chosen_id, subject, named, now, known)
    # what makes a request the same one when its id comes again, whichever way it was sent: the subject and the numbers
    content = b"v2\0" + (question.subject_id or "").encode() + b"\0" + numbers.tobytes()
    return case_of(key, contract.name, ask, content, now)


def _number(number: Number) -> float:
    """`number`; every missing value is the same one."""
    return math.nan if number is None or math.isnan(number) else number


def _value(spec: Input, number: Number) -> Value:
    if number is None or math.isnan(number):
        return None
    if spec.dtype == "category":
        return _category(spec, number)
    if spec.dtype == "boolean":
        if number not in (0, 1):
            raise FeatureInvalid(spec.name, "must be 0 or 1")
        return number == 1
    if spec.range is not None and not spec.range[0] <= number <= spec.range[1]:
        return _bound(spec.range, number)
    return number


def _several(spec: Input, columns: Sequence[Number]) -> Value:
    """A text that was hashed already, or a sequence: what is missing at its end was never there. None when all of it is missing."""
    if all(number is None or math.isnan(number) for number in columns):
        return None
    numbers = [math.nan if number is None else number for number in columns]
    if spec.dtype == "text":
        return Buckets(numbers)
    while math.isnan(numbers[-1]):
        numbers.pop()
    low, high = spec.range or (-math.inf, math.inf)
    return [number if low <= number <= high else _bound((low, high), number) for number in numbers]


def _category(spec: Input, number: float) -> str:
    names = spec.categories or []
    if not (0 <= number < len(names) and number == int(number)):
        listed = ", ".join(f"{i} ({name})" for i, name in enumerate(names))
        raise FeatureInvalid(spec.name, f"must be one of {listed}")
    return names[int(number)]


def _bound(bounds: tuple[float, float], number: float) -> float:
    """The bound itself where `number` is what 32 bits made of it, else `number`, which the contract then refuses."""
    return next((b for b in bounds if math.isfinite(number) and array("f", [b])[0] == number), number)
