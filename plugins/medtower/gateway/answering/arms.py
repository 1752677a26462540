"""Which version answers a case: the patient's arm, and the incumbent at once where a rollout's candidate fails.

No patient pays for a rollout: a candidate has half of the request's time, and what it fails at is answered by the incumbent in the rest.
"""

from __future__ import annotations

import time
from array import array
from concurrent.futures import Future

from medtower.domain.routing import Arm, Route
from medtower.errors import (
    DeadlineExceeded,
    FeatureInvalid,
    MedtowerError,
    ModelMisbehaved,
    NotFound,
    Unavailable,
)
from medtower.gateway.answering.cache import lifetime
from medtower.gateway.answering.case import Case, Inferred, encoded, failure, milliseconds_since, usable
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.serving.routing import choose

UNUSABLE = (ModelMisbehaved, Unavailable, DeadlineExceeded)
CANDIDATE_SHARE = 0.5


async def infer(parts: Parts, case: Case, seen: Seen) -> Inferred:
    """What answers the case, within the deadline of one request. What a version failed at is on its way to the record.

    Raises what the version that was asked last failed with, FeatureInvalid when the request breaks the contract.
    """
    request = _Request(parts, case, seen)
    try:
        return await request.by_route()
    except NotFound:  # routing moved between the choice and the call; Triton took nothing
        parts.routing.refresh()
    request.again = True
    return await request.by_route()


async def weighed(parts: Parts, model: str, arm: Arm, row: array[float], seconds: float) -> float:
    """What the weights of `arm` make of the row. A candidate that does not answer has an incumbent behind it; before the others stands a circuit breaker.
    Raises NotFound, Unavailable, DeadlineExceeded and ModelMisbehaved."""
    if arm.name == "candidate":
        return usable(model, arm, await parts.trial.infer(model, arm.version, row, seconds=seconds))
    circuit = model, arm.version, arm.digest
    parts.circuits.enter(circuit)
    try:
        value = usable(model, arm, await parts.triton.infer(model, arm.version, row, seconds=seconds))
    except (Unavailable, DeadlineExceeded):
        parts.circuits.failed(circuit)
        raise
    parts.circuits.answered(circuit)
    return value


class _Request:
    """One case on its way through the arms. `again`: routing was read anew, so a version that Triton does not serve is a failure."""

    def __init__(self, parts: Parts, case: Case, seen: Seen) -> None:
        self.parts, self.case, self.seen = parts, case, seen
        self.again = False
        self._start = time.perf_counter()

    async def by_route(self) -> Inferred:
        """By the arm that the route as it is now gives the patient."""
        route = self.parts.routing.route(self.case.model)
        arm = choose(route, self.case.subject)
        if self.seen.trace:
            self.seen.trace.ended("route")
        if (incumbent := _incumbent(route, arm)) is not None:
            if not self.parts.breakers.is_open(self.case.model, arm):
                return await self._candidate(arm, incumbent)
            arm = incumbent
        start = time.perf_counter()
        try:
            return await self._ask(arm, self._left(), route)
        except UNUSABLE as error:
            await self._kept(self._failed(arm, error, start))
            raise

    async def _candidate(self, candidate: Arm, incumbent: Arm) -> Inferred:
        start = time.perf_counter()
        try:
            inferred = await self._ask(candidate, self._left() * CANDIDATE_SHARE)
        except (*UNUSABLE, FeatureInvalid) as error:
            return await self._instead(candidate, error, start, incumbent)
        self.parts.breakers.answered(self.case.model, candidate)
        return inferred

    async def _instead(self, candidate: Arm, error: MedtowerError, start: float, incumbent: Arm) -> Inferred:
        took, again = milliseconds_since(start), time.perf_counter()
        try:
            inferred = await self._ask(incumbent, self._left())
        except FeatureInvalid:  # the caller's mistake, unless the candidate's contract took it
            if not isinstance(error, FeatureInvalid):
                await self._kept(self._failed(candidate, error, start, took=took))
            raise error from None
        except UNUSABLE as also:
            if not isinstance(error, FeatureInvalid):
                self._failed(candidate, error, start, took=took)
            await self._kept(self._failed(incumbent, also, again))
            raise
        opened = self.parts.breakers.failed(self.case.model, candidate)
        # not waited for: the spool keeps things in their order, so it is on the disk before the answer leaves
        self._failed(candidate, error, start, took=took, opened=opened)
        return inferred

    async def _ask(self, arm: Arm, seconds: float, route: Route | None = None) -> Inferred:
        case = self.case
        self.seen.version, self.seen.arm = arm.version, arm.name
        row = encoded(arm.contract, case.question)
        if self.seen.trace:
            self.seen.trace.ended("validate")
        kept = lifetime(route, arm)
        if kept and (known := await self._known(arm, row)) is not None:
            return Inferred(arm, row, known, latency_ms=0.0, cached=True)
        start = time.perf_counter()
        try:
            value = await weighed(self.parts, case.model, arm, row, seconds)
        except NotFound:
            if self.again:
                raise Unavailable(f"{case.model} {arm.version}", "Triton does not serve it") from None
            raise
        finally:
            if self.seen.trace:
                self.seen.trace.ended("triton")
        if kept:
            await self.parts.cache.put(arm.digest, row, value, kept)
        return Inferred(arm, row, value, milliseconds_since(start), route.shadow if route else None)

    async def _known(self, arm: Arm, row: array[float]) -> float | None:
        """What the release made of the same row before."""
        known = await self.parts.cache.get(arm.digest, row)
        self.parts.metrics.looked_up(self.case.model, hit=known is not None)
        return known

    def _left(self) -> float:
        return max(0.0, self._start + self.parts.triton.deadline - time.perf_counter())

    def _failed(
        self,
        arm: Arm,
        error: MedtowerError,
        start: float,
        *,
        took: float | None = None,
        opened: bool = False,
    ) -> Future[None]:
        """Count the failure and hand it to the record."""
        case = self.case
        self.parts.metrics.asked(case.model, arm.version, arm.name, "failed")
        latency = milliseconds_since(start) if took is None else took
        return self.parts.record.note(failure(case, arm, error, latency, opened=opened))

    async def _kept(self, noted: Future[None]) -> None:
        await self.parts.record.settled(noted)


def _incumbent(route: Route, arm: Arm) -> Arm | None:
    """The version that `arm` would replace, None when it is no candidate."""
    if arm.name != "candidate":
        return None
    return next((each for each in route.arms if each.name == "current"), None)
