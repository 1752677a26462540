"""Moves what the spool holds to the database. The database may be down for hours; then this waits and the spool grows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from medtower.adapters.spool import Spool
from medtower.adapters.spool_tables import Waiting
from medtower.domain.prediction import Failure, Outcome, Prediction, Shadowed
from medtower.errors import InvalidInput, MedtowerError
from medtower.gateway.observing.metrics import Metrics

log = logging.getLogger(__name__)
REUSED = "the request id is on record for another body"


class Sink(Protocol):
    """Where the record goes. Every call returns after the commit, is idempotent, and raises when nothing was kept: InvalidInput when what was
    sent is refused and always will be."""

    def write(self, predictions: Sequence[Prediction]) -> Sequence[str]:
        """Keep `predictions`; the request ids that are there for another body, whose predictions were not kept, come back."""

    def outcomes(self, outcomes: Sequence[Outcome]) -> None: ...

    def failures(self, failures: Sequence[Failure]) -> None: ...

    def shadows(self, shadows: Sequence[Shadowed]) -> None: ...


@dataclass
class _Batch:
    """Rows on their way, and why the database does not take some of them (by sequence number)."""

    rows: list[Waiting]
    refused: dict[int, str] = field(default_factory=dict)

    def of(self, kind: type) -> list[Waiting]:
        return [row for row in self.rows if isinstance(row.item, kind)]


class Shipper:
    """One thread. After a failure it waits `idle` seconds, twice that after the next, up to `longest`.

    A row that the database refuses for good is set aside in the spool, so that the others go on; so is the prediction of a request id that is
    on record for another body.
    """

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        metrics: Metrics,
        *,
        batch: int = 1000,
        idle: float = 0.2,
        longest: float = 30.0,
    ) -> None:
        self._spool, self._sink, self._metrics = spool, sink, metrics
        self._batch, self._idle, self._longest = batch, idle, longest
        self._failures = 0
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
        batch = _Batch(self._spool.waiting(self._batch))
        if not batch.rows:
            return 0
        self._send(batch, Prediction, self._predictions(batch))
        for kind, write in (
            (Outcome, self._sink.outcomes),
            (Failure, self._sink.failures),
            (Shadowed, self._sink.shadows),
        ):
            self._send(batch, kind, _items(write))
        self._spool.dropped(batch.rows[-1].sequence, batch.refused).result()
        self._count(batch)
        return len(batch.rows)

    def _send(self, batch: _Batch, kind: type, write: Callable[[list[Waiting]], None]) -> None:
        if rows := batch.of(kind):
            self._sift(batch, rows, write)

    def _sift(self, batch: _Batch, rows: list[Waiting], write: Callable[[list[Waiting]], None]) -> None:
        """Write `rows`; when they are refused, halve them until the rows that are to blame are found."""
        try:
            write(rows)
        except InvalidInput as error:
            if len(rows) == 1:
                batch.refused[rows[0].sequence] = str(error)
                return
            half = len(rows) // 2
            self._sift(batch, rows[:half], write)
            self._sift(batch, rows[half:], write)

    def _predictions(self, batch: _Batch) -> Callable[[list[Waiting]], None]:
        def write(rows: list[Waiting]) -> None:
            reused = set(self._sink.write([row.item for row in rows if isinstance(row.item, Prediction)]))
            batch.refused |= {row.sequence: REUSED for row in rows if row.item.request_id in reused}

        return write

    def _count(self, batch: _Batch) -> None:
        self._metrics.shipped.inc(len(batch.rows) - len(batch.refused))
        self._metrics.rejected.inc(len(batch.refused))
        self._metrics.duplicates.inc(sum(why == REUSED for why in batch.refused.values()))
        for row in batch.rows:
            if why := batch.refused.get(row.sequence):
                extra = {"model": row.item.model, "request_id": row.item.request_id, "reason": why}
                log.error("the database refuses a row for good; it is set aside in the spool", extra=extra)

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
            reason = str(error) if isinstance(error, MedtowerError) else type(error).__name__
            log.warning("the spool could not be shipped", extra={"reason": reason})
            return min(self._longest, self._idle * 2.0 ** min(self._failures, 20))
        if self._failures:
            log.info("the spool ships again", extra={"count": moved})
        self._failures = 0
        return 0.0 if moved == self._batch else self._idle


def _items(write: Callable[[Sequence[Any]], None]) -> Callable[[list[Waiting]], None]:
    return lambda rows: write([row.item for row in rows])
