"""One look at a rollout: what was approved, what was observed, and what may be spent."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from functools import cached_property

from medtower.domain.contract import Contract
from medtower.domain.contract_rollout import Margins
from medtower.domain.rollout import Plan
from medtower.rollout.budget import Budget
from medtower.rollout.comparison import Evidence
from medtower.rollout.observed import Arm, Pairs


@dataclass(frozen=True)
class Look:
    """`pairs` is None unless the stage is the shadow: there the candidate answers nobody, and pairs take the place of its arm."""

    contract: Contract
    plan: Plan
    stage: int
    current: Arm
    candidate: Arm
    pairs: Pairs | None = None

    @cached_property
    def budget(self) -> Budget:
        return Budget.of(self.contract, self.plan)

    @property
    def margins(self) -> Margins:
        return self.contract.rollout.margins

    @property
    def share(self) -> float:
        """The share of patients that the candidate should have, 0 to 1."""
        return self.plan.stages[self.stage] / 100

    @property
    def scored(self) -> Arm | Pairs:
        """What the candidate scored."""
        return self.candidate if self.pairs is None else self.pairs

    def lacking(self, ours: Sized, theirs: Sized) -> str:
        """What is missing for a decision when `ours` and `theirs` hold one value a patient; empty when there is enough."""
        least, n = self.contract.rollout.min_samples, self.counted(ours, theirs)
        return f"{n} patients in the smaller arm, {least} needed" if n < least else ""

    def counted(self, ours: Sized, theirs: Sized) -> int:
        # the shadow scores what the incumbent answered, so the incumbent is never the smaller one
        return len(ours) if self.pairs is not None else min(len(ours), len(theirs))

    def evidence(self, ours: Sized, theirs: Sized) -> Evidence:
        """The numbers of requests, of patients (effective), and the levels."""
        return {
            "n candidate": len(self.scored),
            "n current": len(self.current) if self.pairs is None else len(self.pairs),
            "patients candidate": len(ours),
            "patients current": len(theirs),
            "alpha rollback": self.budget.rollback,
            "alpha promote": self.budget.promote,
        }
