"""The durable spool: predictions, outcomes, failures and shadows on this machine's disk, until the database has them.

SQLite in WAL mode with `synchronous=FULL`: a commit returns after the disk has it (https://sqlite.org/pragma.html#pragma_synchronous).
One thread writes. Whatever waits when it comes round is committed as one transaction, so a group of requests shares one fsync.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from medtower import atomic_file
from medtower.adapters import spool_escalations as escalations
from medtower.adapters import spool_outbox as outbox
from medtower.adapters import spool_tables as tables
from medtower.adapters import spool_work as work
from medtower.domain.escalation import Escalation
from medtower.domain.prediction import Failure, Outcome, Prediction, Shadowed
from medtower.errors import RecordUnavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

GROUP = 512
WAITING = 10_000
# After these nobody knows what the disk holds, and asking again may report success for pages that the kernel has thrown away
# (Rebello et al., USENIX ATC 2020, "Can Applications Recover from fsync Failures?").
FATAL = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
    }
)


class Spool:
    """The spool file at `path`; its folder is made when missing. Every method may be called from any thread.

    `keep` answers stay for idempotency after their predictions have left, and for `remember_days` it is known which request ids were used
    for which body: the database keeps the first prediction of an id, so a second one must not leave. A full disk fails the group that met it and nothing else; after a
    failed fsync the spool refuses everything until the process is started again. `committed` hears how many rows and other writes shared a transaction.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep: int = 10_000,
        remember_days: float = 90.0,
        connect: Callable[[Path], sqlite3.Connection] = tables.connect,
        committed: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._path, self._keep, self._connect, self._committed = path, keep, connect, committed
        self._remember = remember_days * 86_400
        self._jobs: queue.SimpleQueue[work.Job | None] = queue.SimpleQueue()
        self._reading, self._shipping, self._door = threading.Lock(), threading.Lock(), threading.Lock()
        self._closed = False
        self.failure: str | None = None
        self._fatal = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._writer: sqlite3.Connection | None = tables.create(connect(path))
            self._reader, self._shipper = connect(path), connect(path)
            atomic_file.sync(path.parent)
        except (sqlite3.Error, OSError) as error:
            raise RecordUnavailable(f"{path} cannot be opened: {error}") from error
        self._thread = threading.Thread(target=self._write_groups, name="spool-writer", daemon=True)
        self._thread.start()

    def record(
        self,
        prediction: Prediction,
        answer: str,
        parts: Sequence[Prediction] = (),
        escalation: Escalation | None = None,
    ) -> Future[work.Kept]:
        """Keep `prediction` and the `answer` (JSON) that leaves with it, the `parts` that a composition made it of, and the `escalation` that it asks
        for. The future ends when all are on the disk.

        When the request id is there already, the result is the answer that stands there; for another body, and for an answer that is no
        longer kept here, the future raises Conflict.
        """
        row = tables.Answered(prediction.request_id, prediction.body_sha256, prediction.json(), answer)
        rows = [("prediction", part.json()) for part in parts]
        return self._submit(
            lambda connection: work.record(connection, row, rows, escalation),
            answered=None if rows or escalation else row,
        )

    def append(self, rows: Sequence[outbox.Row]) -> Future[None]:
        """Keep `rows`, in their order, all or none. Nothing is remembered of their request ids: for predictions that nobody can ask for again."""
        return self._submit(lambda connection: outbox.put(connection, rows, time.time()), rows=rows)

    def escalated(self, escalation: Escalation, *, delivered: bool) -> Future[None]:
        """Note that the webhook was tried, and whether it took it."""
        return self._submit(lambda connection: work.escalated(connection, escalation.request_id, delivered))

    def escalations(self, limit: int) -> list[Escalation]:
        """Up to `limit` escalations that no webhook has taken yet, those tried least often first."""
        with self._read() as connection:
            return escalations.pending(connection, limit)

    def escalation_depth(self) -> tuple[int, float]:
        """How many of them there are, and how many seconds the oldest has waited (0 when there is none)."""
        with self._read() as connection:
            return escalations.depth(connection, time.time())

    def record_outcomes(self, outcomes: Sequence[Outcome]) -> Future[None]:
        """Keep `outcomes`, all or none."""
        return self.append([("outcome", outcome.json()) for outcome in outcomes])

    def note(self, *items: Failure | Shadowed) -> Future[None]:
        """Keep what versions failed at or said in the shadow. Rows are kept in the order in which they are handed over."""
        rows = [(outbox.NAMES[type(item)], item.json()) for item in items]
        return self._submit(lambda connection: work.note(connection, items, rows))

    def opened(self) -> set[tuple[str, int, str]]:
        """(model, version, digest) of the circuit breakers that have opened, in this process or one before it."""
        with self._read() as connection:
            return tables.breakers(connection)

    def dropped(
        self, upto: int, refused: Mapping[int, str] | None = None, *, more: bool = False
    ) -> Future[None]:
        """Forget what waits up to and including sequence number `upto`: the database has it. What it `refused` for good (sequence number: why)
        is set aside in the table `rejected`. `more` of the same batch follows: what else there is to forget waits for its end."""

        def forget(connection: sqlite3.Connection) -> None:
            work.dropped(connection, upto, refused or {})
            if not more:
                work.forget(connection, upto, self._keep, self._remember)

        return self._submit(forget)

    def probe(self) -> Future[None]:
        """Write one row and see whether the disk takes it."""
        return self._submit(lambda connection: tables.probe(connection, time.time()))

    def answer(self, request_id: str, body_sha256: str) -> str | None:
        """The answer that stands for `request_id`, None when it is new; raises Conflict when its body was another, or the answer is no
        longer kept here."""
        with self._read() as connection:
            return work.standing(connection, request_id, body_sha256)

    def waiting(self, limit: int) -> list[outbox.Waiting]:
        """The oldest `limit` rows that have not been shipped, in the order they came."""
        with self._ship() as connection:
            return outbox.waiting(connection, limit)

    def packed(self, limit: int) -> list[outbox.Packed]:
        """The same rows as `waiting`, by kind and as they are."""
        with self._ship() as connection:
            return outbox.packed(connection, limit)

    def depth(self) -> tuple[int, float]:
        """How many rows wait, and how many seconds the oldest has waited (0 when none does)."""
        with self._read() as connection:
            return outbox.depth(connection, time.time())

    def close(self) -> None:
        """Write what waits, then close the file. Safe to call twice."""
        with self._door:
            if self._closed:
                return
            self._closed = True
        self._jobs.put(None)
        self._thread.join()
        with self._reading, self._shipping:
            self._reader.close()
            self._shipper.close()

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._reading, self._readable():
            yield self._reader

    @contextlib.contextmanager
    def _ship(self) -> Iterator[sqlite3.Connection]:
        """A reader of its own for what may take long: nobody who looks for one answer waits for it."""
        with self._shipping, self._readable():
            yield self._shipper

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RecordUnavailable(f"{self._path.name} cannot be read: {error}") from error

    def _submit(
        self,
        job: Callable[[sqlite3.Connection], T],
        *,
        answered: tables.Answered | None = None,
        rows: Sequence[outbox.Row] | None = None,
    ) -> Future[T]:
        done: Future[T] = Future()
        with self._door:  # so that no job comes in behind the one that ends the thread
            if self._closed:
                done.set_exception(RecordUnavailable("the spool is closed"))
                return done
            if self._jobs.qsize() < WAITING:
                self._jobs.put(work.Job(job, done, answered, rows))
            else:
                done.set_exception(RecordUnavailable(f"{WAITING} requests wait for the disk already"))
        return done

    def _write_groups(self) -> None:
        ending = False
        while not ending:
            group, ending = self._next_group()
            if group:
                self._write(group)
        if self._writer is not None:
            self._writer.close()

    def _next_group(self) -> tuple[list[work.Job], bool]:
        group: list[work.Job] = []
        job = self._jobs.get()
        while job is not None:
            # whoever stopped waiting was not answered, so there is nothing to record
            if job.done.set_running_or_notify_cancel():
                group.append(job)
            if len(group) == GROUP:
                return group, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write(self, group: list[work.Job]) -> None:
        if self._fatal:
            why = f"{self.failure}; check the disk, then restart the gateway"
            return _fail(group, RecordUnavailable(why))
        try:
            results = self._commit(group)
        except Exception as error:  # whatever it was, the thread that writes must live on
            return self._failed(group, error)
        self.failure = None
        for job, result in zip(group, results, strict=True):
            if isinstance(result, Exception):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)
        return None

    def _commit(self, group: list[work.Job]) -> list[Any]:
        if self._writer is None:
            self._writer = self._connect(self._path)
        if rows := work.only_rows(group):
            outbox.put(self._writer, rows, time.time())
            self._committed(len(rows))
            return [None] * len(group)
        self._writer.execute("BEGIN IMMEDIATE")
        results = work.done(self._writer, group)
        self._writer.execute("COMMIT")
        self._committed(sum(len(job.rows) if job.rows else 1 for job in group))
        return results

    def _failed(self, group: list[work.Job], error: Exception) -> None:
        self._fatal = getattr(error, "sqlite_errorcode", 0) in FATAL
        self.failure = f"{self._path.name} cannot be written: {error}"
        log.error("the spool cannot be written", extra={"reason": str(error), "count": len(group)})
        if self._writer is not None:  # closing rolls back, and the next group meets the file afresh
            with contextlib.suppress(sqlite3.Error):
                self._writer.close()
            self._writer = None
        _fail(group, RecordUnavailable(self.failure))


def _fail(group: list[work.Job], error: RecordUnavailable) -> None:
    for job in group:
        job.done.set_exception(error)
