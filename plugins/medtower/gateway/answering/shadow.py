"""A version in the shadow: it scores what was answered, after the answer has left, and nobody ever waits for it."""

from __future__ import annotations

import asyncio
import logging
import time

from medtower.domain.prediction import Shadowed
from medtower.domain.routing import Shadow
from medtower.errors import DeadlineExceeded, FeatureInvalid, ModelMisbehaved, NotFound, Unavailable
from medtower.gateway.answering.case import Case, Inferred, encoded, milliseconds_since, usable
from medtower.gateway.answering.disagreement import disagree
from medtower.gateway.answering.inference import Triton
from medtower.gateway.observing.metrics import Metrics
from medtower.gateway.recording.record import Record
from medtower.gateway.routing_file import RoutingFile

log = logging.getLogger(__name__)
IN_FLIGHT = 16
TOGETHER = 0.25


class Shadowing:
    """At most `most` copies are on their way; beyond that they are shed, and counted. `triton` is a client of its own, so that a shadow that hangs
    holds no connection that an answer needs. What it says is handed to the record every quarter of a second: a write for each would have the
    next answer wait for the disk once more."""

    def __init__(
        self, triton: Triton, routing: RoutingFile, record: Record, metrics: Metrics, *, most: int = IN_FLIGHT
    ) -> None:
        self._triton, self._routing, self._record, self._metrics = triton, routing, record, metrics
        self._most = most
        self._running: set[asyncio.Task[None]] = set()
        self._said: list[Shadowed] = []

    async def copy(self, case: Case, inferred: Inferred, shadow: Shadow) -> None:
        """Have `shadow` score the case too, some time after this returns."""
        if len(self._running) >= self._most:
            self._metrics.shadowed(case.model, shadow.version, "shed")
            return
        task = asyncio.create_task(self._run(case, inferred, shadow))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Give up the copies on their way: what is not on record was never asked, as far as a verdict goes."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._hand_over()
        await self._triton.close()

    async def _run(self, case: Case, inferred: Inferred, shadow: Shadow) -> None:
        try:
            found = await self._shadowed(case, inferred, shadow)
        except Exception as error:  # whatever it was, nobody is there to be told; a message may hold a value, so only its kind is logged
            extra = {"model": case.model, "version": shadow.version, "reason": type(error).__name__}
            log.exception("a copy for the shadow came to nothing", extra=extra)
            return
        if found is None:
            return
        self._said.append(found)
        if len(self._said) == 1:
            asyncio.get_running_loop().call_later(TOGETHER, self._hand_over)
        failed, said = found.prediction is None, "disagree" if found.disagrees else "agree"
        self._metrics.shadowed(case.model, shadow.version, "failed" if failed else said)

    def _hand_over(self) -> None:
        said, self._said = self._said, []
        if said:
            self._record.note(*said)

    async def _shadowed(self, case: Case, inferred: Inferred, shadow: Shadow) -> Shadowed | None:
        """The pair, None when the version has left the shadow meanwhile."""
        start = time.perf_counter()
        value: float | None
        try:
            row = encoded(shadow.contract, case.question)
            start = time.perf_counter()
            value = usable(case.model, shadow, await self._triton.infer(case.model, shadow.version, row))
        except NotFound:
            if not self._still(case.model, shadow):
                return None
            value = None
        except (FeatureInvalid, ModelMisbehaved, Unavailable, DeadlineExceeded):
            value = None
        return Shadowed(
            request_id=case.question.request_id,
            model=case.model,
            version=shadow.version,
            digest=shadow.digest,
            subject=case.subject,
            event_time=case.question.event_time,
            received_at=case.received_at,
            prediction=value,
            latency_ms=milliseconds_since(start),
            current_version=inferred.arm.version,
            current_prediction=inferred.value,
            current_latency_ms=inferred.latency_ms,
            disagrees=value is not None
            and disagree(inferred.arm.contract, inferred.value, shadow.contract, value),
        )

    def _still(self, model: str, shadow: Shadow) -> bool:
        self._routing.refresh()
        route = self._routing.table().routes.get(model)
        return route is not None and route.shadow is not None and route.shadow.digest == shadow.digest
