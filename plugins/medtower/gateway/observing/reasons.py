"""Why a request got no answer, in words from one fixed list: they are labels of metrics and fields of logs."""

from __future__ import annotations

from medtower.errors import MedtowerError, RecordUnavailable

UNEXPECTED = "internal"
BY_STATUS = {
    400: "protocol",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method",
    408: "body_timeout",
    409: "conflict",
    413: "too_large",
    415: "media_type",
    422: "invalid_input",
    429: "rate_limited",
    499: "caller_gone",
    502: "model_misbehaved",
    503: "unavailable",
    504: "deadline",
}
RECORD = "record_unavailable"
REASONS = frozenset({*BY_STATUS.values(), RECORD, UNEXPECTED})


def of_status(code: int) -> str:
    """The reason that an HTTP status stands for; `internal` for one that the gateway does not answer on purpose."""
    return BY_STATUS.get(code, UNEXPECTED)


def of_error(error: BaseException) -> str:
    """The reason that an error stands for: a disk that does not take the record is told from a part that is down."""
    if isinstance(error, RecordUnavailable):
        return RECORD
    return of_status(error.http_status) if isinstance(error, MedtowerError) else UNEXPECTED
