"""What the spool's thread does within one transaction. It owns none: whoever calls begins and commits."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from medtower.adapters import spool_escalations as escalations
from medtower.adapters import spool_outbox as outbox
from medtower.adapters import spool_tables as tables
from medtower.domain.escalation import Escalation
from medtower.domain.prediction import Failure, Shadowed
from medtower.errors import Conflict


@dataclass(frozen=True)
class Kept:
    """What stands in the record for a request: its answer (JSON), and whether this call put it there."""

    answer: str
    fresh: bool


@dataclass
class Job:
    """`answered` is there when the work is to keep that and nothing else, `rows` when it is to add those: many such are written together."""

    work: Callable[[sqlite3.Connection], Any]
    done: Future[Any]
    answered: tables.Answered | None = None
    rows: Sequence[outbox.Row] | None = None


def done(connection: sqlite3.Connection, jobs: Sequence[Job]) -> list[Any]:
    """The result of each job, in their order; a Conflict stands for the job that met it, and the others go on."""
    results: list[Any] = []
    for alike, some in itertools.groupby(jobs, lambda job: job.answered is not None):
        results += (_record_all if alike else _one_by_one)(connection, list(some))
    return results


def only_rows(jobs: Sequence[Job]) -> list[outbox.Row] | None:
    """The rows of all jobs when it is their work to add them, few enough for one statement: that is a transaction by itself."""
    rows = [row for job in jobs for row in job.rows or ()]
    return rows if len(rows) <= outbox.MOST_AT_ONCE and all(job.rows for job in jobs) else None


def _one_by_one(connection: sqlite3.Connection, jobs: Sequence[Job]) -> list[Any]:
    results: list[Any] = []
    for job in jobs:
        try:
            results.append(job.work(connection))
        except Conflict as conflict:  # raised before anything is written: the others go on
            results.append(conflict)
    return results


def _record_all(connection: sqlite3.Connection, jobs: Sequence[Job]) -> list[Any]:
    rows = [job.answered for job in jobs if job.answered]
    fresh = tables.put_answered(connection, rows, time.time())
    return [
        Kept(row.answer, fresh=True) if is_new else _one_by_one(connection, [job])[0]
        for job, row, is_new in zip(jobs, rows, fresh, strict=True)
    ]


def record(
    connection: sqlite3.Connection,
    row: tables.Answered,
    parts: Sequence[outbox.Row],
    escalation: Escalation | None,
) -> Kept:
    there = standing(connection, row.request_id, row.body_sha256)
    if there is not None:
        return Kept(there, fresh=False)
    tables.put_answered(connection, [row], time.time())
    if parts:
        outbox.put(connection, parts, time.time())
    if escalation:
        escalations.put(connection, escalation, time.time())
    return Kept(row.answer, fresh=True)


def escalated(connection: sqlite3.Connection, request_id: str, delivered: bool) -> None:
    sequence = tables.sequence_of(connection, request_id)
    escalations.tried(connection, request_id, sequence, delivered=delivered, at=time.time())


def note(
    connection: sqlite3.Connection, items: Sequence[Failure | Shadowed], rows: Sequence[outbox.Row]
) -> None:
    outbox.put(connection, rows, time.time())
    for item in items:
        if isinstance(item, Failure) and item.opened:
            tables.put_breaker(connection, item, time.time())


def dropped(connection: sqlite3.Connection, upto: int, refused: Mapping[int, str]) -> None:
    outbox.set_aside(connection, {s: why for s, why in refused.items() if s <= upto}, time.time())
    outbox.drop(connection, upto)


def forget(connection: sqlite3.Connection, upto: int, keep: int, remember: float) -> None:
    before = time.time() - remember
    tables.forget(connection, upto, keep, before)
    escalations.forget(connection, before, tables.FORGET_AT_ONCE)


def standing(connection: sqlite3.Connection, request_id: str, body_sha256: str) -> str | None:
    there = tables.used(connection, request_id, body_sha256)
    if there is None:
        return None
    sequence, same = there
    if not same:
        raise Conflict("this request id was used for another body; send a new request_id")
    answer = tables.answer(connection, sequence)
    if answer is None:
        raise Conflict(
            "this request was answered; the answer is on record, but no longer kept for repetition; send a new request_id to ask again"
        )
    return answer
