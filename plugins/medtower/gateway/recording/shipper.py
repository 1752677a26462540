"""Moves what the spool holds to the database. The database may be down for hours; then this waits and the spool grows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence, Set
from datetime import date
from typing import Protocol

from medtower.adapters.spool import Spool
from medtower.adapters.spool_outbox import Packed, Waiting
from medtower.domain.prediction import KINDS, Prediction, Recorded
from medtower.errors import InvalidInput, MedtowerError
from medtower.gateway.observing.metrics import Metrics

log = logging.getLogger(__name__)
STEP = 200  # rows
UNREADABLE = "the row cannot be read"
REUSED = "the request id is on record for another body"


class Sink(Protocol):
    """Where the record goes: `PredictionStore`. Every call returns after the commit, is idempotent, and raises when nothing was kept: InvalidInput
    when what was sent is refused and always will be. `days` are the partitions that Postgres wants; another store may ignore them.

    There is one: a second would need an outbox of its own. What is shown (`rest/reading.py`) comes from Postgres whatever the sink.
    """

    def write(self, rows: Sequence[Recorded]) -> int:
        """Keep `rows` of one kind; returns how many were not there yet."""

    def write_lines(self, kind: str, lines: str, days: Set[date] = frozenset()) -> int:
        """The same, with the JSON of one row on each of `lines`."""

    def reused(self, predictions: Sequence[Prediction]) -> Sequence[str]:
        """The request ids of those that are there for another body, and were not kept."""


class Shipper:
    """One thread. After a failure it waits twice `idle` seconds, twice that after the next, up to `longest`.

    A row that the database refuses for good is set aside in the spool, so that the others go on; so is the prediction of a request id that is
    on record for another body.
    """

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        metrics: Metrics,
        *,
        batch: int = 5000,
        idle: float = 0.2,
        longest: float = 30.0,
    ) -> None:
        self._spool, self._sink, self._metrics = spool, sink, metrics
        self._batch, self._idle, self._longest = batch, idle, longest
        self._failures, self._size = 0, batch
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Ship what can be shipped at once, then end. What stays is in the spool for the next start."""
        self._stop.set()
        self._thread.join(timeout)

    def ship(self) -> int:
        """Move one batch, oldest first, and return its size. It leaves the spool only after the sink has committed it."""
        packed = self._spool.packed(self._size)
        if not packed:
            return 0
        count, last = sum(some.count for some in packed), max(some.last for some in packed)
        refused = {} if self._whole(packed) else self._row_by_row(count)
        self._leave(last - count, last, refused)
        self._metrics.shipped.inc(count - len(refused))
        self._metrics.rejected.inc(len(refused))
        self._metrics.duplicates.inc(sum(why == REUSED for why in refused.values()))
        return count

    def _leave(self, after: int, last: int, refused: Mapping[int, str]) -> None:
        """Forget what has been kept, a little at a time: an answer that waits for the disk waits for one step."""
        for upto in range(after + STEP, last, STEP):
            self._spool.dropped(upto, refused, more=True).result()
        self._spool.dropped(last, refused).result()

    def _whole(self, packed: Sequence[Packed]) -> bool:
        """Whether the sink took all of it: not when it refuses a row, or has a prediction already and it must be seen whether that is the same."""
        try:
            new = {some.kind: self._sink.write_lines(some.kind, some.lines, _days(some)) for some in packed}
        except (InvalidInput, ValueError):  # a row that is none of ours may have no day
            return False
        return all(new[some.kind] == some.count for some in packed if some.kind == "prediction")

    def _row_by_row(self, count: int) -> dict[int, str]:
        """Send the oldest `count` rows again, and find those that the sink does not take: why, by sequence number."""
        rows = self._spool.waiting(count)
        refused: dict[int, str] = {}
        for kind in KINDS:
            self._sift([row for row in rows if isinstance(row.item, KINDS[kind])], refused)
        refused |= {row.sequence: UNREADABLE for row in rows if row.item is None}
        predictions = [row.item for row in rows if isinstance(row.item, Prediction)]
        reused = set(self._sink.reused(predictions))
        refused |= {
            r.sequence: REUSED for r in rows if isinstance(r.item, Prediction) and r.item.request_id in reused
        }
        for row in rows:
            if why := refused.get(row.sequence):
                extra = {"reason": why}
                if row.item:
                    extra |= {"model": row.item.model, "request_id": row.item.request_id}
                log.error("the database refuses a row for good; it is set aside in the spool", extra=extra)
        return refused

    def _sift(self, rows: list[Waiting], refused: dict[int, str]) -> None:
        """Write `rows` of one kind; when they are refused, halve them until the rows that are to blame are found."""
        try:
            self._sink.write([row.item for row in rows if row.item])
        except InvalidInput as error:
            if len(rows) == 1:
                refused[rows[0].sequence] = str(error)
                return
            half = len(rows) // 2
            self._sift(rows[:half], refused)
            self._sift(rows[half:], refused)

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self._step()
        while self._step() == 0.0:
            continue

    def _step(self) -> float:
        """Seconds to wait before the next batch: none while there is more, longer and longer while the sink is down."""
        try:
            moved = self.ship()
        except Exception as error:  # a message that is not ours may hold a row, so only its kind is logged
            self._failures += 1
            self._size = max(1, self._size // 2)  # it may be too much at once for the database or for us
            reason = str(error) if isinstance(error, MedtowerError) else type(error).__name__
            log.warning("the spool could not be shipped", extra={"reason": reason})
            return min(self._longest, self._idle * 2.0 ** min(self._failures, 20))
        if self._failures:
            log.info("the spool ships again", extra={"count": moved})
        whole = moved == self._size
        self._failures, self._size = 0, min(2 * self._size, self._batch)
        return 0.0 if whole else self._idle


def _days(packed: Packed) -> Set[date]:
    """The days (UTC) of the events, which is how the table is divided."""
    return {date.fromisoformat(day) for day in (packed.days or "").split(",") if day}
