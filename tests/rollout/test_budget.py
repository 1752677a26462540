from __future__ import annotations

import pytest

from medtower.domain.rollout import IMMEDIATE, Plan
from medtower.rollout.budget import REVERTING, Budget

STAGED = Plan(strategy="staged", steps=[5, 10, 25, 50, 100], hold_hours=24, shadow_hours=24)


def test_all_tests_of_all_stages_and_days_together_spend_no_more_than_alpha(promise):
    found = Budget.of(promise(alpha=0.05), STAGED)
    stages_that_are_judged = 5  # the shadow, 5, 10, 25, 50
    days = sum(found.later(day) for day in range(1, 100_000))
    assert found.whole + days <= found.rollback
    assert found.whole + days == pytest.approx(found.rollback, rel=1e-4)
    assert found.rollback * stages_that_are_judged * len(REVERTING) == pytest.approx(0.05)
    assert found.sample_ratio * stages_that_are_judged == pytest.approx(0.05)


def test_a_promotion_needs_every_bound_so_each_is_at_alpha(promise):
    assert Budget.of(promise(alpha=0.02), STAGED).promote == 0.02
    assert Budget.of(promise(alpha=0.02), IMMEDIATE).sample_ratio == 0.02
