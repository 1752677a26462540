"""A candidate next to the incumbent: how much worse it is, with the bounds that a decision rests on, and the decision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from medtower.domain.verdict import Decision, Verdict
from medtower.errors import InvalidInput
from medtower.rollout.budget import REVERTING

Evidence = dict[str, float | int | str | None]
Rule = Literal["required", "watched", "advisory"]
Bounds = tuple[float, float]
UNBOUNDED = "not compared: the contract gives the output no range"


@dataclass(frozen=True)
class Comparison:
    """How much worse the candidate is (`value`, None when nothing was observed): at least `lower` at the level for ROLLBACK and at most `upper`
    at the level for PROMOTE. `equal` is the number that says 'as good': 0 for a difference, 1 for a ratio."""

    what: str
    value: float | None
    lower: float
    upper: float
    margin: float
    equal: float = 0.0

    @property
    def worse(self) -> bool:
        """The sequence excludes 'as good', and what was observed is beyond the margin (a sequence that excludes the margin does both)."""
        return self.value is not None and self.lower > self.equal and self.value > self.margin

    @property
    def within(self) -> bool:
        return self.upper <= self.margin

    @property
    def beyond(self) -> bool:
        return self.value is not None and self.value > self.margin

    def __str__(self) -> str:
        value = "not observed" if self.value is None else f"{self.value:.4g}"
        return f"{self.what} {value} (at least {self.lower:.4g}, at most {self.upper:.4g}, margin {self.margin:g})"

    @property
    def numbers(self) -> Evidence:
        """For a verdict's evidence; None where there is no bound."""
        return {
            "value": self.value,
            "lower": finite(self.lower),
            "upper": finite(self.upper),
            "margin": self.margin,
        }


def finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def decide(name: str, found: Comparison, rule: Rule, evidence: Evidence, *, lacking: str = "") -> Verdict:
    """The verdict on `found`; `lacking` says what is missing for PROMOTE.

    ROLLBACK, for every rule but `advisory`, when the candidate is shown to be worse than the incumbent and is observed beyond the margin. That
    needs no least n: the sequences hold at every n, and a patient should not wait for 200 failures when 20 prove it. Asking only for worse at
    all would take back a version for a difference that the contract tolerates; asking for a bound beyond the margin would leave one that
    sits on the margin in service for ever. For a version as good as the incumbent both are as rare as the level says. Raises InvalidInput for a
    test that is not `advisory` and that `REVERTING` does not name.
    `required`: PROMOTE only when shown to lie within the margin; else HOLD.
    `watched` and `advisory`: the gates before the release have shown it on the holdout, and here it is watched: HOLD when observed beyond the
    margin, else PROMOTE, in words that tell whether it is shown or not yet. `advisory` rests on an assumption and takes nothing back.
    """
    if rule != "advisory" and name not in REVERTING:
        raise InvalidInput(f"{name} may take a version back, so it needs a part of the budget: REVERTING")
    evidence = evidence | found.numbers
    if found.worse and rule != "advisory":
        return _verdict(name, Decision.ROLLBACK, f"worse than the incumbent: {found}", evidence)
    if lacking:
        decision = Decision.HOLD if rule == "required" else Decision.PROMOTE
        return _verdict(name, decision, lacking, evidence)
    if found.within:
        return _verdict(name, Decision.PROMOTE, f"shown to lie within the margin: {found}", evidence)
    if rule == "required":
        return _verdict(name, Decision.HOLD, f"not shown to lie within the margin yet: {found}", evidence)
    if found.beyond:
        shown = "shown to be worse" if found.worse else "not shown to be worse"
        return _verdict(name, Decision.HOLD, f"beyond the margin, {shown}: {found}", evidence)
    return _verdict(name, Decision.PROMOTE, f"inside the margin, not shown yet: {found}", evidence)


def state(name: str, passed: bool, reason: str, evidence: Evidence) -> Verdict:
    """A verdict that can only hold."""
    return _verdict(name, Decision.PROMOTE if passed else Decision.HOLD, reason, evidence)


def _verdict(name: str, decision: Decision, reason: str, evidence: Evidence) -> Verdict:
    return Verdict(kind="rollout", name=name, decision=decision, reason=reason, evidence=evidence)
