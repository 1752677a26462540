"""Moves what the spool holds to the database. The database may be down for hours; then this waits and the spool grows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from medtower.adapters.spool import Spool
from medtower.domain.prediction import Outcome, Prediction
from medtower.errors import MedtowerError

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where predictions and outcomes go. Both calls return after the commit, are idempotent, and raise when nothing was kept."""

    def write(self, predictions: Sequence[Prediction]) -> None: ...

    def outcomes(self, outcomes: Sequence[Outcome]) -> None: ...


class Shipper:
    """One thread. `shipped` is told how many rows went. After a failure it waits `idle` seconds, twice that after the next, up to `longest`."""

    def __init__(
        self,
        spool: Spool,
        sink: Sink,
        shipped: Callable[[int], None],
        *,
        batch: int = 1000,
        idle: float = 0.2,
        longest: float = 30.0,
    ) -> None:
        self._spool, self._sink, self._shipped = spool, sink, shipped
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
        waiting = self._spool.waiting(self._batch)
        if not waiting:
            return 0
        predictions = [w.item for w in waiting if isinstance(w.item, Prediction)]
        outcomes = [w.item for w in waiting if isinstance(w.item, Outcome)]
        if predictions:
            self._sink.write(predictions)
        if outcomes:
            self._sink.outcomes(outcomes)
        self._spool.dropped(waiting[-1].sequence).result()
        self._shipped(len(waiting))
        return len(waiting)

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
