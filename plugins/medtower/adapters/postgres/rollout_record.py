"""What a rollout is judged by: both arms' requests, the pairs of the shadow, and the disagreements that wait for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from medtower.adapters.postgres.database import Database
from medtower.errors import Conflict, NotFound

Right = Literal["current", "candidate", "either", "neither"]

_ARM = """
select subject, extract(epoch from received_at)::double precision, failed, latency_ms, prediction, outcome
from medtower.arm(%s, %s, %s, %s, %s)
"""
_PAIRS = """
select subject, current_prediction, prediction, prediction is null, latency_ms, current_latency_ms from medtower.shadows
where model = %s and version = %s and received_at >= %s and received_at < %s
order by received_at, request_id
"""
_OPENED = """
select min(received_at) from medtower.failures where model = %s and digest = %s and opened
"""
_QUEUE = """
select request_id, model, version, subject, event_time, prediction, current_version, current_prediction
from medtower.shadows where model = %s and disagrees and reviewed_at is null
order by received_at, request_id limit %s
"""
_REVIEW = """
update medtower.shadows set reviewed_at = now(), reviewed_by = %s, review = %s
where request_id = %s and model = %s and version = %s and disagrees and reviewed_at is null
"""
_THERE = "select 1 from medtower.shadows where request_id = %s and model = %s and version = %s and disagrees"


class ArmRows(TypedDict):
    """One row a request that came to the version, in the order they came in: the pseudonym, Unix seconds by the gateway's clock, whether it failed, the milliseconds it took
    (a failure's too), the prediction (NaN where it failed) and the outcome (NaN unknown)."""

    version: int
    subjects: NDArray[np.str_]
    at: NDArray[np.float64]
    failed: NDArray[np.bool_]
    latency_ms: NDArray[np.float64]
    prediction: NDArray[np.float64]
    outcome: NDArray[np.float64]


class PairRows(TypedDict):
    """One row a request that both versions scored, in the order they came in; `candidate` is NaN where the shadow failed."""

    subjects: NDArray[np.str_]
    current: NDArray[np.float64]
    candidate: NDArray[np.float64]
    failed: NDArray[np.bool_]
    latency_ms: NDArray[np.float64]
    current_latency_ms: NDArray[np.float64]


class Disagreement(TypedDict):
    """A request about which the versions say materially different things, and nobody has said yet which is right."""

    request_id: str
    model: str
    version: int
    subject: str
    event_time: datetime
    prediction: float
    current_version: int
    current_prediction: float


class RolloutRecord:
    """Reads as `medtower_airflow` or `medtower_reader`; a review is written as `medtower_airflow`. Errors as in `Database.transaction`."""

    def __init__(self, dsn: str) -> None:
        self._database = Database(dsn)

    def arm(self, model: str, version: int, since: datetime, until: datetime, as_of: datetime) -> ArmRows:
        """What came to `version` in [since, until) by the gateway's clock, with the outcomes that had arrived by `as_of`.

        A request that the candidate failed at and the incumbent then answered is the candidate's alone. Rehearsed traffic is left out.
        """
        subject, at, failed, latency, prediction, outcome = self._columns(
            _ARM, (model, version, since, until, as_of), 6
        )
        return ArmRows(
            version=version,
            subjects=np.array(subject, dtype=np.str_),
            at=_numbers(at),
            failed=np.array(failed, dtype=np.bool_),
            latency_ms=_numbers(latency),
            prediction=_numbers(prediction),
            outcome=_numbers(outcome),
        )

    def pairs(self, model: str, version: int, since: datetime, until: datetime) -> PairRows:
        """What `version` made in the shadow of what was answered of what came in in [since, until)."""
        subject, current, candidate, failed, latency, current_latency = self._columns(
            _PAIRS, (model, version, since, until), 6
        )
        return PairRows(
            subjects=np.array(subject, dtype=np.str_),
            current=_numbers(current),
            candidate=_numbers(candidate),
            failed=np.array(failed, dtype=np.bool_),
            latency_ms=_numbers(latency),
            current_latency_ms=_numbers(current_latency),
        )

    def opened(self, model: str, digest: str) -> datetime | None:
        """When the gateway's circuit breaker of the release `digest` opened, None when it did not."""
        ((moment,),) = self._rows(_OPENED, (model, digest))
        return moment if isinstance(moment, datetime) else None

    def disagreements(self, model: str, limit: int) -> list[Disagreement]:
        """The oldest `limit` disagreements that wait for a review."""
        keys = tuple(Disagreement.__annotations__)
        rows = self._rows(_QUEUE, (model, limit))
        return [cast(Disagreement, dict(zip(keys, row, strict=True))) for row in rows]

    def review(self, request_id: str, model: str, version: int, *, by: str, right: Right) -> None:
        """Say once whose answer is `right`. Raises NotFound when there is no such disagreement, Conflict when it was reviewed before."""
        key = (request_id, model, version)
        with self._database.transaction() as cursor:
            cursor.execute(_REVIEW, (by, right, *key))
            if cursor.rowcount:
                return
            cursor.execute(_THERE, key)
            there = cursor.fetchone()
        if there is None:
            raise NotFound(f"a disagreement of {model} {version} about {request_id}", "the record")
        raise Conflict(f"somebody has reviewed {request_id} of {model} {version} already")

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._database.transaction() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def _columns(self, statement: str, values: tuple[object, ...], count: int) -> list[tuple[Any, ...]]:
        rows = self._rows(statement, values)
        return list(zip(*rows, strict=True)) if rows else [()] * count


def _numbers(values: tuple[Any, ...]) -> NDArray[np.float64]:
    """Numbers, NaN for null."""
    return np.array(values, dtype=np.float64)
