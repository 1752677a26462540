"""Which plan a version is proposed with: decided from the evidence, within what the contract says."""

from __future__ import annotations

from collections.abc import Sequence

from medtower.domain.contract import Contract
from medtower.domain.rollout import IMMEDIATE, Plan


def decide(
    contract: Contract, *, replaces: int | None, emergency: bool, doubts: Sequence[str]
) -> tuple[Plan, str]:
    """The plan, and one sentence that says why. `doubts` are what the evidence leaves open, a clause each.

    Nothing to compare with, or an emergency fix that the reviewers sign as one: immediate. A doubt, or a model whose answers cannot wait for a
    clinician: staged. Else gradual.
    """
    if replaces is None:
        return IMMEDIATE, "It is the first version in service: there is no incumbent to compare with."
    if emergency:
        return IMMEDIATE, "It is an emergency fix, and the approvals are of it as such."
    rollout = contract.rollout
    steps, hold = list(rollout.steps), rollout.hold_hours
    open_questions = list(doubts)
    if contract.clinical_priority != "routine":
        open_questions.append(f"its clinical priority is {contract.clinical_priority}")
    if open_questions:
        staged = Plan(strategy="staged", steps=steps, hold_hours=hold, shadow_hours=rollout.shadow_hours)
        return staged, f"It scores in the incumbent's shadow first: {'; '.join(open_questions)}."
    return Plan(strategy="gradual", steps=steps, hold_hours=hold), "The evidence leaves no doubt open."
