"""A V2 question through the gateway's core: every row is answered and on record, or the caller is told why not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

from medtower.domain.routing import Arm, Route
from medtower.errors import DeadlineExceeded, NotFound, Unavailable
from medtower.gateway.answering.case import Case
from medtower.gateway.answering.predict import Answered, predict
from medtower.gateway.observing.observed import Seen
from medtower.gateway.parts import Parts
from medtower.gateway.v2.rows import cases
from medtower.gateway.v2.types import Question
from medtower.serving.routing import choose

VERSION_DIGITS = 15


def named_by(route: Route, version: int) -> Arm:
    """The arm whose contract says what a row's numbers are: the pinned version's, else the one that the metadata show. Raises Unavailable when the
    model has no version, NotFound when the pinned one serves nobody."""
    if not route.arms:
        raise Unavailable(f"model {route.model}", route.reason or "no version of it is ready")
    if not version:
        return route.arms[0]
    for arm in route.arms:
        if arm.version == version:
            return arm
    raise NotFound("the pinned version", f"what serves of {route.model}", "leave the version out")


def pinned(text: str) -> int:
    """The version in a path or a message. Raises NotFound for what is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= VERSION_DIGITS and int(text)):
        raise NotFound("the pinned version", "what serves", "a version is a number")
    return int(text)


def addressed(parts: Parts, place: Sequence[str]) -> tuple[Route, int]:
    """The route of the model and the version that `place` ([model] or [model, "versions", version]) names, 0 for none. Raises NotFound."""
    if len(place) not in (1, 3) or (len(place) == 3 and place[1] != "versions"):
        raise NotFound("the path", "this server", "see /docs")
    return parts.routing.route(place[0]), pinned(place[2]) if len(place) == 3 else 0


def answers(parts: Parts, route: Route, question: Question, seen: Seen) -> Awaitable[Sequence[Answered]]:
    """The answers to the rows of `question`, in their order, all on the disk.

    Raises at once, before any row is asked, FeatureInvalid, Unavailable when the model has no version, and NotFound when routing gives the subject
    another version than the pinned one; when awaited what `predict` raises, and DeadlineExceeded when the caller's own time is up. Rows that were answered before another failed stay on record; the same request again gets
    the same answers for them.
    """
    seen.request_id = question.id
    asked = cases(parts.subject_key, named_by(route, question.version).contract, question, datetime.now(UTC))
    if question.version:
        _check_pin(parts, route, question.version, asked)
    predicted = _predicted(parts, asked, seen)
    return predicted if question.seconds is None else _in_time(predicted, question.seconds)


async def _in_time(predicted: Awaitable[Sequence[Answered]], seconds: float) -> Sequence[Answered]:
    try:
        async with asyncio.timeout(seconds):
            return await predicted
    except TimeoutError:
        raise DeadlineExceeded("the model", round(seconds, 6)) from None


async def _predicted(parts: Parts, asked: Sequence[Case], seen: Seen) -> Sequence[Answered]:
    if len(asked) == 1:
        return [await predict(parts, asked[0], seen)]
    done = await asyncio.gather(*(predict(parts, case, seen) for case in asked), return_exceptions=True)
    answered = []
    for each in done:  # all have ended: no row is on its way any more when the caller is told of a failure
        if isinstance(each, BaseException):
            raise each
        answered.append(each)
    return answered


def _check_pin(parts: Parts, route: Route, version: int, asked: Sequence[Case]) -> None:
    arm = choose(route, asked[0].subject)
    if arm.name == "candidate" and parts.breakers.is_open(route.model, arm):
        arm = next((each for each in route.arms if each.name == "current"), arm)
    if arm.version == version or all(_answered_before(parts, case) for case in asked):
        return
    hint = "leave the version out; parameters.subject_id says who the patient is"
    raise NotFound("the pinned version", f"what routing gives this subject of {route.model}", hint)


def _answered_before(parts: Parts, case: Case) -> bool:
    ask = case.question
    return ask.repeatable and parts.record.answer(ask.request_id, case.body_sha256) is not None
