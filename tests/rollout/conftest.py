"""Arms of a rollout: factories, so that each test says what is special about its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medtower.domain.contract import Contract
from medtower.domain.rollout import Plan
from medtower.domain.verdict import Verdict
from medtower.rollout.observed import Arm, Pairs
from medtower.rollout.verdict import judge

LOOSE = {"target": 0.2, "warning": 0.1, "critical": 0.05}
LOW = {"target": 0.1, "warning": 0.2, "critical": 0.3}
PLAN = Plan(strategy="staged", steps=[10, 50, 100], hold_hours=24, shadow_hours=12)
SHADOW, TENTH, HALF, LAST = range(4)


@pytest.fixture
def promise() -> Callable[..., Contract]:
    """`promise(primary=..., task=..., limits=..., **rollout)`."""

    def make(
        primary: str = "accuracy", task: str = "classification", limits: Any = None, **rollout: Any
    ) -> Contract:
        unit = "{probability}" if task == "classification" else "{score}"
        return Contract(
            name="some_model",
            title="Some model",
            task=task,
            intended_use="tests",
            out_of_scope=["people"],
            owner="clinical@example.org",
            inputs=[{"name": "age", "dtype": "float", "unit": "a", "range": (18, 110)}],
            output={"name": "risk", "unit": unit, "description": "risk", "range": limits},
            kpis={primary: LOW if primary in ("mae", "brier") else LOOSE},
            gates={"primary": primary},
            rollout=rollout,
        )

    return make


@pytest.fixture
def arm() -> Callable[..., Arm]:
    """`arm(version, n, ...)`: n patients, one request each over `hours`; `failing`, `slow`, `wrong` (share of labelled answers), `labelled` (share)."""

    def make(
        version: int,
        n: int,
        *,
        failing: float = 0.0,
        slow: float = 1.0,
        wrong: float = 0.2,
        labelled: float = 0.0,
        prediction: Any = None,
        hours: float = 24,
        start: float = 0.0,
        prefix: str = "p",
        seed: int = 0,
    ) -> Arm:
        rng = np.random.default_rng([seed, version, n])
        failed = rng.random(n) < failing
        scores = rng.beta(2, 2, n) if prediction is None else np.full(n, prediction)
        truth = (scores >= 0.5) ^ (rng.random(n) < wrong)
        return Arm(
            version=version,
            subjects=np.array([f"{prefix}{version}-{i}" for i in range(n)], dtype=np.str_),
            at=np.sort(rng.random(n)) * hours * 3600 + start,
            failed=failed,
            latency_ms=np.exp(rng.normal(3, 0.3, n)) * slow,
            prediction=np.where(failed, np.nan, scores),
            outcome=np.where(~failed & (rng.random(n) < labelled), truth.astype(float), np.nan),
        )

    return make


@pytest.fixture
def pairs() -> Callable[..., Pairs]:
    """`pairs(n, ...)`: n patients scored by both; `apart` is the share that the candidate answers on the other side."""

    def make(n: int, *, failing: float = 0.0, slow: float = 1.0, apart: float = 0.0, seed: int = 0) -> Pairs:
        rng = np.random.default_rng([seed, n])
        current, failed = rng.beta(2, 2, n), rng.random(n) < failing
        candidate = np.where(rng.random(n) < apart, 1 - current, current)
        waited = np.exp(rng.normal(3, 0.3, n))
        return Pairs(
            current=current,
            candidate=np.where(failed, np.nan, candidate),
            failed=failed,
            latency_ms=waited * slow * np.exp(rng.normal(0, 0.1, n)),
            current_latency_ms=waited,
            subjects=np.array([f"s{i}" for i in range(n)], dtype=np.str_),
        )

    return make


@pytest.fixture
def verdicts(promise: Callable[..., Contract]) -> Callable[..., dict[str, Verdict]]:
    """`verdicts(current, candidate, stage=..., held=..., pairs=..., **contract)` by name, on a plan of shadow, 10 %, 50 %, 100 %."""

    def look(
        current: Arm,
        candidate: Arm,
        *,
        stage: int = TENTH,
        held: float = 25,
        pairs: Pairs | None = None,
        **contract: Any,
    ) -> dict[str, Verdict]:
        found = judge(promise(**contract), PLAN, stage, current, candidate, held_hours=held, pairs=pairs)
        return {v.name: v for v in found}

    return look
