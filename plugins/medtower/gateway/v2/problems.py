"""Errors under /v2 on their way out: {"error": "..."}, as the protocol has it, with the same statuses and the same silence about values as the friendly API."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

from starlette.exceptions import HTTPException

from medtower.errors import MedtowerError
from medtower.gateway.observing import reasons
from medtower.gateway.observing.observed import Seen
from medtower.gateway.problems import CODES, RETRY_AFTER, UNFORESEEN
from medtower.gateway.v2 import json_codec

log = logging.getLogger(__name__)
READ_ONLY = "a model changes by a signed release only: this gateway loads, unloads and configures nothing, and shares no memory"
Headers = list[tuple[bytes, bytes]]


class ReadOnly(HTTPException):
    """A method of the protocol that would change something."""

    def __init__(self) -> None:
        super().__init__(403, READ_ONLY)


def problem(error: Exception, seen: Seen) -> tuple[int, str]:
    """HTTP status and message of `error`, with a line in the log. What nobody foresaw says nothing but that."""
    if not isinstance(error, HTTPException):
        seen.reason = reasons.of_error(error)
    if isinstance(error, HTTPException):
        status, message = error.status_code, _message(error)
    elif isinstance(error, MedtowerError):
        status, message = error.http_status, str(error)
    else:
        status, message = 500, UNFORESEEN.message
        log.exception("no answer", extra=_said(seen, 500))  # of the error only its kind comes into the log
        return status, message
    if status != 429:  # who asks too much would fill the log as well
        log.warning("no answer", extra={**_said(seen, status), "reason": message})
    return status, message


def reply(status: int, message: str, seconds: float | None = None) -> tuple[bytes, Headers]:
    """Body and headers of an HTTP response that says so; `seconds` until the next try can succeed, where that is known."""
    headers: Headers = []
    if status in (429, 503):
        after = RETRY_AFTER if seconds is None else str(math.ceil(seconds))
        headers.append((b"retry-after", after.encode()))
    if status in (408, 413):
        headers.append((b"connection", b"close"))  # else the server would take in the rest of the body
    if status == 401:
        headers.append((b"www-authenticate", b"ApiKey, Bearer"))
    return json_codec.encode({"error": message}), headers


def _message(error: HTTPException) -> str:
    if isinstance(error, ReadOnly):
        return str(error.detail)
    return CODES.get(error.status_code, ("", ""))[1] or HTTPStatus(error.status_code).phrase


def _said(seen: Seen, status: int) -> dict[str, str | int | None]:
    return {"model": seen.model, "version": seen.version, "caller": seen.caller or None, "code": status}
