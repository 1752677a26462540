"""Several models, one answer: the parts of a composition asked in waves, within the one deadline of the request.

Every part is routed by its own model's route for the same patient. The arms of the composition's own model are tried as those of any model: what
a rollout's candidate fails at, as a whole, is answered by its incumbent in the time that is left.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from medtower.domain.routing import Arm, Route
from medtower.errors import FeatureInvalid, MedtowerError, NotFound, Unavailable
from medtower.gateway.answering.arms import CANDIDATE_SHARE, UNUSABLE, weighed
from medtower.gateway.answering.case import Case, Inferred, encoded, failure, milliseconds_since
from medtower.gateway.answering.composition_answer import Composed, Ran
from medtower.gateway.answering.composition_parts import Waves, standing
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts

# a part that had all of the time fails by its own clock, which puts the failure down to its version
GRACE = 0.05
Infer = Callable[[Parts, Case, Seen], Awaitable[Inferred]]


def composes(route: Route) -> bool:
    """Whether an arm of `route` is a composition, so that `compose` answers for it."""
    return any(arm.contract.composition for arm in route.arms)


async def compose(parts: Parts, case: Case, route: Route, seen: Seen, infer: Infer) -> Composed:
    """What answers the case by `route`, an arm of which is a composition. `infer` asks a model that is none. Nothing is on record yet but failures.

    Raises FeatureInvalid when the request breaks the contract or falls under no part's condition; else what the version that was asked last failed with.
    """
    until = time.perf_counter() + parts.triton.deadline + GRACE
    return await _Request(parts, case, seen, infer, until).answered(route)


class _Request:
    """One case on its way through the arms of a model that composes. `until` (time.perf_counter) is when the whole request ends."""

    def __init__(self, parts: Parts, case: Case, seen: Seen, infer: Infer, until: float) -> None:
        self.parts, self.case, self.seen, self._infer, self._until = parts, case, seen, infer, until
        self._again = False

    async def answered(self, route: Route) -> Composed:
        try:
            return await self._by_route(route)
        except NotFound:  # routing moved between the choice and the call
            self.parts.routing.refresh()
        self._again = True
        return await self._by_route(self.parts.routing.route(self.case.model))

    async def _by_route(self, route: Route) -> Composed:
        arm = standing(self.parts, route, self.case.subject)
        if self.seen.trace:
            self.seen.trace.ended("route")
        incumbent = next((each for each in route.arms if each.name == "current"), None)
        if arm.name != "candidate" or incumbent is None:
            return await self._alone(arm)
        start, left = time.perf_counter(), self._until - time.perf_counter()
        try:
            composed = await self._by(arm, start + left * CANDIDATE_SHARE)
        except (*UNUSABLE, FeatureInvalid) as error:
            return await self._instead(arm, incumbent, error, milliseconds_since(start))
        self.parts.breakers.answered(self.case.model, arm)
        return composed

    async def _alone(self, arm: Arm) -> Composed:
        start = time.perf_counter()
        try:
            return await self._by(arm, self._until)
        except UNUSABLE as error:
            await self.parts.record.settled(self._failed(arm, error, milliseconds_since(start)))
            raise

    async def _instead(self, candidate: Arm, incumbent: Arm, error: MedtowerError, took: float) -> Composed:
        try:
            composed = await self._alone(incumbent)
        except (*UNUSABLE, FeatureInvalid) as also:
            if not isinstance(error, FeatureInvalid):
                self._failed(candidate, error, took)
            # the caller's mistake by both contracts; by the incumbent's alone, the candidate's failure is what there is to tell
            raise error if isinstance(also, FeatureInvalid) else also from None
        opened = self.parts.breakers.failed(self.case.model, candidate)
        self._failed(candidate, error, took, opened=opened)
        return composed

    async def _by(self, arm: Arm, until: float) -> Composed:
        """The answer of `arm`: its weights alone when it is no composition."""
        start = time.perf_counter()
        self.seen.version, self.seen.arm = arm.version, arm.name
        row = encoded(arm.contract, self.case.question)
        if self.seen.trace:
            self.seen.trace.ended("validate")
        if why := self.parts.routing.withheld(self.case.model, arm.version):
            raise Unavailable(f"{self.case.model} {arm.version}", why)
        if arm.contract.composition is None:
            inferred = await self._own(arm, self.case, until)
            return Composed.alone(inferred)
        waves = Waves(self.parts, self.case, arm, until, ask_model=self._ask, ask_own=self._own)
        try:
            return await waves.answered(row, start)
        finally:
            if self.seen.trace:
                self.seen.trace.ended("triton")

    async def _own(self, arm: Arm, case: Case, until: float) -> Inferred:
        """What the weights of `arm` say, and nobody else's."""
        row = encoded(arm.contract, case.question)
        start = time.perf_counter()
        try:
            value = await weighed(self.parts, case.model, arm, row, max(0.0, until - start))
        except NotFound:
            if self._again:
                raise Unavailable(f"{case.model} {arm.version}", "Triton does not serve it") from None
            raise
        route = self.parts.routing.route(case.model)
        shadow = route.shadow if len(route.arms) == 1 else None
        return Inferred(arm, row, value, milliseconds_since(start), shadow)

    async def _ask(self, case: Case, route: Route, until: float) -> Ran:
        """What another model makes of a part's case, itself perhaps a composition."""
        seen = Seen(model=case.model)
        if composes(route):
            nested = _Request(self.parts, case, seen, self._infer, until)
            return Ran(case, await nested.answered(route))
        return Ran(case, Composed.alone(await self._infer(self.parts, case, seen)))

    def _failed(self, arm: Arm, error: MedtowerError, took: float, *, opened: bool = False) -> Future[None]:
        """Count that `arm` failed as a whole, and hand it to the record."""
        case = self.case
        self.parts.metrics.asked(case.model, arm.version, arm.name, "failed")
        return self.parts.record.note(failure(case, arm, error, took, opened=opened))
