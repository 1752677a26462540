"""Request bodies: bounded before they are read, strict JSON, and rules that name the field and never its value."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Set
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope

from medtower.domain import request_id as request_ids
from medtower.errors import Conflict, FeatureInvalid
from medtower.gateway.answering.case import Ask
from medtower.gateway.http_connection import BODY_IS_IN

LARGEST = 256 * 1024
DEADLINE = 10.0
GONE = 499  # nobody reads it: it counts a caller who hung up as that, and not as an error of ours
LONGEST_SUBJECT = 200
ASKED, MAY_BE_ASKED = frozenset({"subject_id", "features"}), frozenset({"request_id", "event_time"})
OLDEST = timedelta(days=3653)  # every day that is named becomes a partition of the database
CLOCK_SKEW = timedelta(minutes=5)


def read(scope: Scope, receive: Receive, *, largest: int = LARGEST) -> Awaitable[bytes]:
    """The body of an HTTP request. Raises HTTPException: 413 as soon as it is known to exceed `largest` bytes (by its announced length, else
    while it comes in), 408 when it has not come in whole after 10 s, 499 when the caller hung up."""
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if announced.isdigit() and int(announced[:20]) > largest:
        raise HTTPException(413)
    # a timer costs more than the reading, and there is nothing to wait for
    if scope["state"].get(BODY_IS_IN):
        return _whole(receive, largest)
    return _in_time(receive, largest)


async def _in_time(receive: Receive, largest: int) -> bytes:
    try:
        async with asyncio.timeout(DEADLINE):
            return await _whole(receive, largest)
    except TimeoutError:
        raise HTTPException(408) from None


async def _whole(receive: Receive, largest: int) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(GONE, "gone")
        body += message.get("body", b"")
        if len(body) > largest:
            raise HTTPException(413)
        more = message.get("more_body", False)
    return body


def strict_json(body: bytes) -> Any:
    """The JSON value of `body` (RFC 8259, UTF-8, no field twice). NaN and overflowing numbers come out as non-finite floats: the rule
    of the field they stand in refuses them by name. Raises FeatureInvalid."""
    try:
        return _STRICT.decode(body.decode())
    except RecursionError:
        raise FeatureInvalid("body", "is nested too deeply") from None
    except ValueError:  # not UTF-8, not JSON, or an integer of thousands of digits; the cause holds the body, so it is cut off
        raise FeatureInvalid("body", "must be a JSON document in UTF-8") from None


def model_of(value: Any) -> str:
    """The model that a parsed body names. Raises FeatureInvalid."""
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(model, str):
        raise FeatureInvalid("model", "is required: the name of a model, see GET /api/v1/ml/models")
    return model


def ask(value: Any, now: datetime, *, named: bool = False) -> Ask:
    """The question in a parsed body; `named`: the body says which model is asked. Raises FeatureInvalid."""
    fields = known(value, "body", required=ASKED | {"model"} if named else ASKED, optional=MAY_BE_ASKED)
    given = fields.get("request_id")
    features = fields["features"]
    if not isinstance(features, dict):
        raise FeatureInvalid("features", "must be an object of named values")
    moment = fields.get("event_time")
    return Ask(
        request_id=request_ids.new() if given is None else chosen_id(given, "request_id"),
        repeatable=given is not None,
        subject_id=subject(fields["subject_id"]),
        features=features,
        event_time=now if moment is None else instant(moment, "event_time", now),
    )


def known(value: Any, field: str, *, required: Set[str], optional: Set[str]) -> dict[str, Any]:
    """`value` when it is an object with all of `required` and nothing beyond `optional`. An unknown key is not named: it may be PHI."""
    if not isinstance(value, dict):
        raise FeatureInvalid(field, "must be a JSON object")
    if missing := sorted(required - value.keys()):
        raise FeatureInvalid(missing[0] if field == "body" else f"{field}.{missing[0]}", "is required")
    if value.keys() - required - optional:
        raise FeatureInvalid(
            field, f"has a field that is not one of {', '.join(sorted(required | optional))}"
        )
    return value


def request_id(value: Any, field: str) -> str:
    """A request id that is safe to log."""
    if not isinstance(value, str) or not request_ids.CHOSEN.fullmatch(value):
        raise FeatureInvalid(field, "must be 1 to 100 characters A-Z, a-z, 0-9, '.', '_', ':' and '-'")
    return value


def chosen_id(value: Any, field: str) -> str:
    """A request id of the caller's own. Raises FeatureInvalid, and Conflict for one that only the gateway gives: it is taken."""
    found = request_id(value, field)
    if request_ids.MADE.fullmatch(found):
        raise Conflict("ids of this form are given by the gateway; send an id of your own, or none")
    return found


def instant(value: Any, field: str, now: datetime) -> datetime:
    """A moment in UTC that has come (clocks may differ by five minutes), from ISO 8601 with an offset."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise FeatureInvalid(field, "must be an ISO 8601 time such as 2026-01-31T09:30:00+01:00") from None
    if moment.tzinfo is None:
        raise FeatureInvalid(field, "needs an offset from UTC such as Z or +01:00")
    if not now - OLDEST <= moment <= now + CLOCK_SKEW:
        raise FeatureInvalid(field, "must lie between ten years ago and now")
    return moment.astimezone(UTC)


def subject(value: Any) -> str:
    """A patient's identifier. Raises FeatureInvalid."""
    # NUL and lone surrogates are not printable
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_SUBJECT or not value.isprintable():
        raise FeatureInvalid("subject_id", f"must be 1 to {LONGEST_SUBJECT} printable characters")
    if value != value.strip():
        raise FeatureInvalid("subject_id", "must not begin or end with a space")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FeatureInvalid("body", "names a field twice")
    return fields


_STRICT = json.JSONDecoder(object_pairs_hook=_object)
