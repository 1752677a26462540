"""Errors on their way out: a status, a code and a message that never repeats what was sent."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medtower.errors import FeatureInvalid, MedtowerError, RateLimited, RecordUnavailable
from medtower.gateway.observing import reasons
from medtower.gateway.observing.observed import Seen
from medtower.gateway.rest.answers import Problem

log = logging.getLogger(__name__)
CODES = {
    400: ("PROTOCOL", ""),
    401: ("UNAUTHORIZED", "no login, or one that does not count; see /docs"),
    403: ("FORBIDDEN", "the role of this login does not include it"),
    404: ("NOT_FOUND", "there is nothing at this path; see /docs"),
    405: ("METHOD_NOT_ALLOWED", "this path does not take this method; see /docs"),
    408: ("TIMEOUT", "the body came in too slowly; send it again"),
    409: ("CONFLICT", ""),
    413: ("TOO_LARGE", "the body is larger than this path takes; see /docs"),
    415: ("MEDIA_TYPE", "this path does not take this Content-Type or Content-Encoding; see /docs"),
    422: ("INVALID_INPUT", ""),
    429: ("RATE_LIMITED", ""),
    499: ("GONE", "the caller hung up"),
    502: ("MODEL_MISBEHAVED", ""),
    503: ("UNAVAILABLE", ""),
    504: ("DEADLINE_EXCEEDED", ""),
}
RETRY_AFTER = "2"
UNFORESEEN = Problem(error="INTERNAL", message="an error that nobody foresaw; see the gateway's log")


def install(app: FastAPI) -> None:
    """Make every error of `app` leave as a `Problem`."""
    app.add_exception_handler(MedtowerError, _medtower_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)


def response(seen: Seen, error: Exception) -> Response:
    """`error` as it leaves, and a line in the log unless HTTP has a word for it or the caller asks too much. Of one that nobody foresaw only its kind
    comes into the log."""
    if isinstance(error, HTTPException):
        return _http_problem(error.status_code)
    seen.reason = reasons.of_error(error)
    said = {"model": seen.model, "version": seen.version, "caller": seen.caller or None}
    if not isinstance(error, MedtowerError):
        log.exception("no answer", extra={**said, "code": 500})
        return _reply(500, UNFORESEEN)
    field, rule = (error.field, error.rule) if isinstance(error, FeatureInvalid) else (None, None)
    if not isinstance(error, RateLimited):  # who asks too much would fill the log as well
        log.warning("no answer", extra={**said, "code": error.http_status, "reason": str(error)})
    code = "LOG_UNAVAILABLE" if isinstance(error, RecordUnavailable) else CODES[error.http_status][0]
    answer = _reply(error.http_status, Problem(error=code, message=str(error), field=field, rule=rule))
    if isinstance(error, RateLimited):
        answer.headers["Retry-After"] = str(math.ceil(error.seconds))
    return answer


async def _medtower_error(request: Request, error: Exception) -> Response:
    return response(request.state.seen, cast(MedtowerError, error))  # it is registered for nothing else


async def _http_exception(_: Request, error: Exception) -> Response:
    return _http_problem(getattr(error, "status_code", 500))


def _http_problem(status: int) -> Response:
    code, message = CODES.get(status) or (HTTPStatus(status).name, HTTPStatus(status).phrase)
    return _reply(status, Problem(error=code, message=message))


async def _validation_error(_: Request, __: Exception) -> Response:
    """The framework's own answer repeats keys and values (and fails on NaN), so it never leaves."""
    return _reply(422, Problem(error="INVALID_INPUT", message="a parameter is not valid; see /docs"))


async def _unexpected(_: Request, __: Exception) -> Response:
    return _reply(500, UNFORESEEN)


def _reply(status: int, problem: Problem) -> Response:
    headers = {}
    if status == 503:
        headers["Retry-After"] = RETRY_AFTER
    if status in (408, 413):
        headers["Connection"] = "close"  # else the server would take in the rest of the body
    if status == 401:
        headers["WWW-Authenticate"] = "ApiKey, Bearer"
    return Response(problem.model_dump_json(), status, headers, media_type="application/json")
