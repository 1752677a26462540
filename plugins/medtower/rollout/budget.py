"""How the contract's `rollout.alpha` is spent, so that a whole rollout errs with that probability at most."""

from __future__ import annotations

from dataclasses import dataclass

from medtower.domain.contract import Contract
from medtower.domain.rollout import Plan

# the tests that can take a version back; a new one takes its part of the budget by being named here
REVERTING = ("errors", "latency", "agreement", "prediction_drift", "labelled_quality")
_LATER = 0.25  # of a test's part: for harm that begins after the first requests


@dataclass(frozen=True)
class Budget:
    """Levels of the confidence sequences of one stage.

    `rollback`: of one test. Bonferroni over the plan's stages and the tests that can say ROLLBACK, so the probability that any of them ever
    says so of a version as good as the incumbent is at most alpha, over all stages and looks.
    `promote`: of one bound that must lie within its margin. Undivided: a version is promoted only when every required test passes, so one that
    is worse than the margin of any of them passes with probability alpha at most (intersection-union test, Berger 1982, Technometrics 24:295).
    A watched test promises nothing of the kind: it passes what is not shown to be within the margin.
    `sample_ratio`: Bonferroni over the stages; it can only hold.
    """

    rollback: float
    promote: float
    sample_ratio: float

    @classmethod
    def of(cls, contract: Contract, plan: Plan) -> Budget:
        alpha, judged = contract.rollout.alpha, max(1, len(plan.stages) - 1)
        return cls(alpha / judged / len(REVERTING), alpha, alpha / judged)

    @property
    def whole(self) -> float:
        """The part of `rollback` for the stage as one."""
        return self.rollback * (1 - _LATER)

    def later(self, day: int) -> float:
        """The part of `rollback` for the requests of day `day` ≥ 1 of the stage (0 is the first) alone; all days together take what `whole` leaves."""
        return self.rollback * _LATER / (day * (day + 1))
