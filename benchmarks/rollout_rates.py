"""How often the verdicts of a rollout are wrong, by simulation through the real `judge`: false rollbacks of a version as good as the
incumbent when every look counts, and the share of planted regressions that is taken back. Seeded; prints two tables.

People come again, some of them fail more often and wait longer than others at either version, and outcomes are known hours later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import beta

from medtower.domain.contract import Contract
from medtower.domain.rollout import Plan
from medtower.domain.verdict import Decision, overall
from medtower.rollout.observed import Arm
from medtower.rollout.verdict import judge

Floats = NDArray[np.float64]

HOURS, LOOKS = 36, 12  # of a stage: it is looked at every third hour, and on past its hold of 24 hours
REQUESTS, PEOPLE = 4500, 3000
PLAN = Plan(strategy="gradual", steps=[10, 50, 100], hold_hours=24)
KNOWN_AFTER = 6 * 3600.0
EFFECTS: dict[str, tuple[float, ...]] = {
    "none": (0.0,),
    "error rate +": (0.01, 0.02, 0.05),
    "latency ×": (1.3, 1.6, 2.0),
    "accuracy -": (0.02, 0.05, 0.10),
}


@dataclass(frozen=True)
class People:
    """Everybody who may come, [n] each: what makes them hash to an arm, how often and how slowly they are served, their risk and outcome."""

    place: Floats
    failing: Floats
    slow: Floats
    risk: Floats
    outcome: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator, n: int) -> People:
        risk = rng.beta(0.6, 0.6, n)
        return cls(
            place=rng.random(n),
            failing=np.where(rng.random(n) < 0.01, 0.2, 0.001),
            slow=rng.normal(3.0, 0.4, n),
            risk=risk,
            outcome=(rng.random(n) < risk).astype(np.float64),
        )


@dataclass(frozen=True)
class Effect:
    """How much worse the candidate is: added error rate, factor on latency, lost accuracy."""

    kind: str = "none"
    size: float = 0.0

    @property
    def errors(self) -> float:
        return self.size if self.kind == "error rate +" else 0.0

    @property
    def latency(self) -> float:
        return self.size if self.kind == "latency ×" else 1.0

    def flipped(self, people: People) -> float:
        """The share of answers to turn round, so that accuracy falls by `size`."""
        right = np.maximum(people.risk, 1 - people.risk).mean()
        return self.size / (2 * float(right) - 1) if self.kind == "accuracy -" else 0.0


def contract() -> Contract:
    """A contract with the default margins, alpha and least n."""
    return Contract.model_validate(
        {
            "schema": "medtower/contract/v1",
            "name": "simulated_risk",
            "title": "Simulated risk",
            "task": "classification",
            "intended_use": "simulation",
            "out_of_scope": ["people"],
            "owner": "clinical@example.org",
            "inputs": [{"name": "age", "dtype": "float", "unit": "a", "range": [18, 110]}],
            "output": {"name": "risk", "unit": "{probability}", "description": "risk"},
            "kpis": {"accuracy": {"target": 0.7, "warning": 0.6, "critical": 0.5}},
            "gates": {"primary": "accuracy"},
        }
    )


def stage(
    rng: np.random.Generator, people: People, requests: int, share: float, effect: Effect
) -> tuple[Arm, Arm]:
    """Everything that a stage will see: (current, candidate), the candidate with the share `share` (0 to 1) of the people."""
    who = rng.integers(0, len(people.place), requests)
    at = np.sort(rng.random(requests)) * HOURS * 3600
    ours = people.place[who] < share
    failed = rng.random(requests) < people.failing[who] + np.where(ours, effect.errors, 0.0)
    latency = np.exp(rng.normal(people.slow[who], 0.4)) * np.where(ours, effect.latency, 1.0)
    turned = rng.random(len(people.place))[who] < np.where(ours, effect.flipped(people), 0.0)
    prediction = np.where(turned, 1 - people.risk[who], people.risk[who])
    names = np.char.add("p", who.astype(str))

    def arm(version: int, of: NDArray[np.bool_]) -> Arm:
        return Arm(
            version,
            names[of],
            at[of],
            failed[of],
            latency[of],
            np.where(failed, np.nan, prediction)[of],
            people.outcome[who][of],
        )

    return arm(1, ~ours), arm(2, ours)


def until(arm: Arm, seconds: float) -> Arm:
    """What had been observed of `arm` by then; outcomes are known some hours after their request."""
    n = int(np.searchsorted(arm.seconds, seconds))
    outcome = np.where(arm.seconds[:n] + KNOWN_AFTER <= seconds, arm.outcome[:n], np.nan)
    return Arm(
        arm.version,
        arm.subjects[:n],
        arm.at[:n],
        arm.failed[:n],
        arm.latency_ms[:n],
        arm.prediction[:n],
        outcome,
    )


def looks(current: Arm, candidate: Arm, times: int) -> Iterator[tuple[float, Arm, Arm]]:
    """(hours held, current, candidate) at each of `times` looks, evenly spread."""
    for hours in np.linspace(HOURS / times, HOURS, times):
        yield float(hours), until(current, hours * 3600), until(candidate, hours * 3600)


def beyond(promise: Contract, current: Arm, candidate: Arm) -> bool:
    """The naive rule: take back when an observed number is beyond its margin and there were enough requests."""
    rollout = promise.rollout
    if min(len(current), len(candidate)) < rollout.min_samples:
        return False
    errors = candidate.failed.mean() - current.failed.mean()
    slow = [np.quantile(a.latency_ms[~a.failed], rollout.latency_quantile) for a in (candidate, current)]
    wrong = [_wrong(a) for a in (candidate, current)]
    least = min(len(w) for w in wrong) >= rollout.min_samples
    return bool(
        errors > rollout.margins.error_rate
        or slow[0] > rollout.margins.latency_ratio * slow[1]
        or (least and wrong[0].mean() - wrong[1].mean() > rollout.margins.quality)
    )


def significant(current: Arm, candidate: Arm) -> bool:
    """Another naive rule: take back when a one-sided t-test at 5 % says worse, over requests."""
    values = [
        (a.failed.astype(np.float64), np.log(a.latency_ms[~a.failed]), _wrong(a))
        for a in (candidate, current)
    ]
    return any(_t(ours, theirs) > 1.645 for ours, theirs in zip(*values, strict=True))


def _wrong(arm: Arm) -> Floats:
    known = arm.answered & np.isfinite(arm.outcome)
    return ((arm.prediction[known] >= 0.5) != (arm.outcome[known] == 1)).astype(np.float64)


def _t(ours: Floats, theirs: Floats) -> float:
    if min(len(ours), len(theirs)) < 30:
        return 0.0
    error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs))
    return float((ours.mean() - theirs.mean()) / error) if error else 0.0


def false_rollbacks(n: int = 2000, seed: int = 1) -> dict[str, Any]:
    """`n` rollouts of a version that is the same as the incumbent. Every stage is looked at to its end, whatever the verdicts were before.

    Returns n, looks (a rollout), count, rate, upper95 (one-sided 95 % bound, Clopper & Pearson 1934), alpha, naive_rate (an observed number
    beyond its margin at any look), t_test_rate (a t-test below 5 % at any look).
    """
    rng, promise = np.random.default_rng(seed), contract()
    counts = np.zeros(3, dtype=np.int64)
    for _ in range(n):
        counts += _one_rollout(rng, promise)
    taken, naive, tested = (int(c) for c in counts)
    return {
        "n": n,
        "looks": LOOKS * (len(PLAN.stages) - 1),
        "count": taken,
        "rate": taken / n,
        "upper95": float(beta.ppf(0.95, taken + 1, n - taken)) if taken < n else 1.0,
        "alpha": promise.rollout.alpha,
        "naive_rate": naive / n,
        "t_test_rate": tested / n,
    }


def _one_rollout(rng: np.random.Generator, promise: Contract) -> NDArray[np.int64]:
    people = People.drawn(rng, PEOPLE)
    taken = naive = tested = False
    for index, percent in enumerate(PLAN.stages[:-1]):
        whole = stage(rng, people, REQUESTS, percent / 100, Effect())
        for hours, current, candidate in looks(*whole, LOOKS):
            decision = overall(judge(promise, PLAN, index, current, candidate, held_hours=hours))
            taken = taken or decision is Decision.ROLLBACK
            naive = naive or beyond(promise, current, candidate)
            tested = tested or significant(current, candidate)
    return np.array([taken, naive, tested], dtype=np.int64)


def power(
    sizes: tuple[int, ...] = (300, 1000, 3000), n: int = 60, seed: int = 2, times: int = 6
) -> list[dict[str, Any]]:
    """Rows {effect, size, patients, n, rolled_back, promoted}: the shares of `n` stages, looked at `times` times, in which the candidate, a quarter of
    all with about `patients` patients, was taken back at any look, or let through at one before that."""
    rng, promise = np.random.default_rng(seed), contract()
    plan = Plan(strategy="gradual", steps=promise.rollout.steps, hold_hours=promise.rollout.hold_hours)
    rows = []
    for kind, effects in EFFECTS.items():
        for size in effects:
            for patients in sizes:
                ends = [_one_stage(rng, promise, plan, patients, Effect(kind, size), times) for _ in range(n)]
                rows.append(
                    {
                        "effect": kind,
                        "size": size,
                        "patients": patients,
                        "n": n,
                        "rolled_back": ends.count(Decision.ROLLBACK) / n,
                        "promoted": ends.count(Decision.PROMOTE) / n,
                    }
                )
    return rows


def _one_stage(
    rng: np.random.Generator, promise: Contract, plan: Plan, patients: int, effect: Effect, times: int
) -> Decision:
    """What the rollout bot would have done: the first verdict that moves something."""
    people = People.drawn(rng, 4 * patients)
    # twice as many requests as people: 86 % of them come
    whole = stage(rng, people, 8 * patients, 0.25, effect)
    index = plan.stages.index(25)
    for hours, current, candidate in looks(*whole, times):
        decision = overall(judge(promise, plan, index, current, candidate, held_hours=hours))
        if decision is not Decision.HOLD:
            return decision
    return Decision.HOLD


def show(found: dict[str, Any], rows: list[dict[str, Any]], console: Console) -> None:
    """Print both tables."""
    table = Table(title=f"{found['n']} rollouts of the same version, {found['looks']} looks each")
    for heading in ("rule", "taken back", "95 % bound"):
        table.add_column(heading)
    table.add_row("confidence sequences", f"{found['rate']:.4f}", f"{found['upper95']:.4f}")
    table.add_row("observed beyond the margin", f"{found['naive_rate']:.4f}", "")
    table.add_row("t-test at every look", f"{found['t_test_rate']:.4f}", "")
    console.print(table)
    console.print(f"alpha {found['alpha']} for a whole rollout and all its looks")
    table = Table(title="one stage at 25 %")
    for heading in ("effect", "candidate's patients", "taken back", "promoted", "n"):
        table.add_column(heading)
    for row in rows:
        name = row["effect"] if row["effect"] == "none" else f"{row['effect']}{row['size']:g}"
        shares = (f"{row['rolled_back']:.2f}", f"{row['promoted']:.2f}")
        table.add_row(name, str(row["patients"]), *shares, str(row["n"]))
    console.print(table)


def main() -> None:
    """Simulate and print both tables."""
    show(false_rollbacks(), power(), Console())


if __name__ == "__main__":
    main()
