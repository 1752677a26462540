"""Callers are told at once while a version does not answer, and one request a second finds out when it does."""

from __future__ import annotations

import pytest

from medtower.errors import Unavailable
from medtower.gateway.answering.circuit import IN_A_ROW, REST, Circuits

KEY = ("demo_risk", 1, "a" * 64)
OTHER = ("demo_risk", 2, "b" * 64)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuits(clock: Clock) -> Circuits:
    return Circuits(clock)


def fail(circuits: Circuits, times: int) -> None:
    for _ in range(times):
        circuits.enter(KEY)
        circuits.failed(KEY)


def test_it_opens_at_the_fifth_failure_in_a_row(circuits: Circuits) -> None:
    fail(circuits, IN_A_ROW - 1)
    circuits.enter(KEY)
    assert circuits.open() == []
    circuits.failed(KEY)
    with pytest.raises(Unavailable, match="demo_risk 1 is unavailable: Triton failed to answer 5 times"):
        circuits.enter(KEY)
    assert circuits.open() == [KEY]


def test_an_answer_in_between_begins_the_count_again(circuits: Circuits) -> None:
    fail(circuits, IN_A_ROW - 1)
    circuits.answered(KEY)
    fail(circuits, IN_A_ROW - 1)
    assert circuits.open() == []


def test_another_version_is_not_concerned(circuits: Circuits) -> None:
    fail(circuits, IN_A_ROW)
    circuits.enter(OTHER)
    assert circuits.open() == [KEY]


def test_after_a_rest_one_request_tries_and_its_failure_begins_another(
    circuits: Circuits, clock: Clock
) -> None:
    fail(circuits, IN_A_ROW)
    clock.now += REST
    circuits.enter(KEY)
    with pytest.raises(Unavailable):
        circuits.enter(KEY)
    circuits.failed(KEY)
    clock.now += REST / 2
    with pytest.raises(Unavailable):
        circuits.enter(KEY)
    clock.now += REST / 2
    circuits.enter(KEY)


def test_a_trial_that_is_answered_closes_it(circuits: Circuits, clock: Clock) -> None:
    fail(circuits, IN_A_ROW)
    clock.now += REST
    circuits.enter(KEY)
    circuits.answered(KEY)
    for _ in range(10):
        circuits.enter(KEY)
    assert circuits.open() == []


def test_a_trial_that_never_came_back_does_not_close_the_door_for_good(
    circuits: Circuits, clock: Clock
) -> None:
    fail(circuits, IN_A_ROW)
    clock.now += REST
    circuits.enter(KEY)  # its caller hung up: neither answered nor failed
    clock.now += REST
    circuits.enter(KEY)
