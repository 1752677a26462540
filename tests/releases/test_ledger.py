"""The ledger, without git: what follows what, and what may never follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from medtower.domain.release import Release
from medtower.domain.rollout import IMMEDIATE, Plan, Strategy, Traffic
from medtower.domain.verdict import Decision, Verdict
from medtower.errors import Refused
from medtower.releases import steps
from medtower.releases.ledger import Deactivation, Ledger, Nothing, Promotion, Rollback, classify

GRADUAL = Plan(strategy="gradual", steps=[10, 50, 100], hold_hours=0)
NONE = Release(model="sum_model", reason="off")
GO = Verdict(kind="rollout", name="error rate", decision=Decision.PROMOTE, reason="fine")


def release(
    version: int, replaces: int | None = None, *, plan: Plan = IMMEDIATE, digest: str = ""
) -> Release:
    return Release(
        model="sum_model",
        version=version,
        replaces=replaces,
        digest=(digest or f"{version:x}").rjust(64, "0"),
        rollout=plan,
        reason="tests",
    )


def told(*releases: Release) -> Ledger:
    state = Ledger("sum_model")
    for number, one in enumerate(releases):
        state = state.then(one, f"c{number}", f"c{number - 1}" if number else None)
    return state


def traffic(one: Release, step: int, *completed: str) -> Traffic:
    return Traffic.model_validate(
        {
            "model": one.model,
            "digest": one.digest,
            "step": step,
            "decided_at": "2026-01-01T00:00:00Z",
            "verdicts": [GO.model_dump()],
            "completed": list(completed),
        }
    )


def step(one: Release, before: Traffic | None, after: Traffic, **known: Any) -> None:
    """Judge a step of a release that was promoted long ago."""
    steps.check_step(one, before, after, **{"promoted": datetime(2025, 1, 1, tzinfo=UTC), **known})


def test_a_stack_of_promotions_is_popped_by_what_lies_deeper() -> None:
    one, two, three = release(1), release(2, 1), release(3, 2)
    state = told(one, two, three)
    assert classify(state, three) == Nothing()
    back = classify(state, one)
    assert isinstance(back, Rollback) and [e.release.version for e in back.popped] == [2, 3]
    off = classify(state, NONE)
    assert isinstance(off, Deactivation) and len(off.popped) == 3
    after = state.then(one, "c3", "c2")
    assert (after.current, after.taken_back) == (one, frozenset({two.digest, three.digest}))


def test_no_model_is_the_bottom_and_nothing_comes_back_from_above_it() -> None:
    state = told(release(1), NONE)
    assert (state.current, state.depth(None)) == (None, 0)
    assert classify(state, NONE) == Nothing()
    with pytest.raises(
        Refused, match="rule taken-back: sum_model 1 was taken back.*medtower propose sum_model 1"
    ):
        classify(state, release(1))
    assert isinstance(classify(state, release(1, digest="f")), Promotion)


@pytest.mark.parametrize(
    ("new", "rule"),
    [
        (release(3), "base"),
        (release(3, 1), "base"),
        (release(2, 2, digest="f"), "version"),
        (release(1, 2, digest="f"), "version"),
    ],
)
def test_a_promotion_replaces_what_is_released_with_a_new_number(new: Release, rule: str) -> None:
    with pytest.raises(Refused, match=f"rule {rule}"):
        classify(told(release(1), release(2, 1)), new)


def test_a_rollout_under_way_blocks_all_but_an_emergency() -> None:
    two = release(2, 1, plan=GRADUAL)
    state = told(release(1), two)
    for so_far in (None, traffic(two, 1), traffic(release(1), 2)):
        with pytest.raises(Refused, match="rule rollout: sum_model 2 is at"):
            classify(state, release(3, 2, plan=GRADUAL), so_far)
        assert isinstance(classify(state, release(3, 2), so_far), Promotion)
        assert isinstance(classify(state, release(1), so_far), Rollback)
    done = traffic(two, 2, str(two.digest))
    assert isinstance(classify(state, release(3, 2, plan=GRADUAL), done), Promotion)


def test_what_stands_on_main_is_folded_even_if_it_should_not_stand_there() -> None:
    state = told(release(1), NONE, release(1))
    assert state.current == release(1) and state.taken_back == {release(1).digest}


def test_completed_drops_its_oldest_beyond_a_hundred() -> None:
    two = release(2, 1, plan=GRADUAL)
    old = [f"{n:x}".rjust(64, "a") for n in range(100)]
    before = traffic(two, 1, *old)
    step(two, before, traffic(two, 2, *old[1:], str(two.digest)))
    with pytest.raises(Refused, match="grows by the release that reached everybody"):
        step(two, before, traffic(two, 2, *old[:-1], str(two.digest)))


def test_a_step_of_the_future_is_none_of_now() -> None:
    """Else all steps could be pushed in one second, each dated a day after the one before."""
    two = release(2, 1, plan=GRADUAL)
    after = traffic(two, 1)
    at = after.decided_at
    for now in (None, at, at - steps.CLOCKS_DIFFER, at + steps.PUSHED_WITHIN):
        step(two, None, after, now=now)
    with pytest.raises(Refused, match="decided in the future"):
        step(two, None, after, now=at - steps.CLOCKS_DIFFER - timedelta(seconds=1))


def test_a_step_that_is_dated_back_is_none_of_now() -> None:
    """Else a plan of days could be gone through in a second, each step dated a day after the one before."""
    two = release(2, 1, plan=GRADUAL)
    after = traffic(two, 1)
    at = after.decided_at
    with pytest.raises(Refused, match="decided 2 days, 0:00:00 ago; look again"):
        step(two, None, after, now=at + timedelta(days=2))
    step(two, None, after, now=at + timedelta(days=2), arriving=False)
    with pytest.raises(Refused, match="decided in the future"):
        step(two, None, after, now=at - timedelta(days=2), arriving=False)


@pytest.mark.parametrize("strategy", ["gradual", "staged"])
def test_the_first_stage_is_held_from_the_promotion_on(strategy: Strategy) -> None:
    """Be it the shadow or the first share; another release's traffic says nothing of it."""
    shadow = 24 if strategy == "staged" else 0
    plan = Plan(strategy=strategy, steps=[10, 100], hold_hours=24 - shadow, shadow_hours=shadow)
    two = release(2, 1, plan=plan)
    after = traffic(two, 1, *([] if shadow else [str(two.digest)]))
    for before in (None, traffic(release(1), 2)):
        step(two, before, after, promoted=after.decided_at - timedelta(hours=24))
        with pytest.raises(Refused, match="held for 23.0 h of 24 h"):
            step(two, before, after, promoted=after.decided_at - timedelta(hours=23))


def test_a_step_of_an_immediate_release_or_without_a_time_zone_is_refused() -> None:
    one = release(1)
    with pytest.raises(Refused, match="has no stage 1"):
        step(one, None, traffic(one, 1))
    two = release(2, 1, plan=GRADUAL)
    naive = traffic(two, 1).model_copy(update={"decided_at": traffic(two, 1).decided_at.replace(tzinfo=None)})
    with pytest.raises(Refused, match="no time zone"):
        step(two, None, naive)
