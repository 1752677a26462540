"""The verdicts of one look at a rollout. Pure: the same observations give the same verdicts, at any number of looks."""

from __future__ import annotations

from medtower.domain.contract import Contract
from medtower.domain.rollout import Plan
from medtower.domain.verdict import Verdict
from medtower.errors import InvalidInput
from medtower.rollout import answers, quality, service, traffic
from medtower.rollout.comparison import state
from medtower.rollout.look import Look
from medtower.rollout.observed import Arm, Pairs


def judge(
    contract: Contract,
    plan: Plan,
    stage: int,
    current: Arm,
    candidate: Arm,
    *,
    held_hours: float,
    pairs: Pairs | None = None,
) -> list[Verdict]:
    """The verdicts on `stage` (index into `plan.stages`) from what was observed since it began; `domain.verdict.overall` decides.

    Traffic, errors, latency, estimated performance, labelled quality and hold always; agreement in the shadow (which needs `pairs`); sample ratio
    and prediction drift where the candidate answers. Pass the contract as it was approved: the division of its `rollout.alpha` over stages,
    tests and looks is made here (`Budget`). Requests of an earlier stage do not belong in: shares differ between stages, and pooling them would
    mix the arms with the times. Raises InvalidInput for a stage that the plan does not have, or a shadow without pairs.
    """
    if not 0 <= stage < len(plan.stages):
        raise InvalidInput(f"the plan has the stages 0 to {len(plan.stages) - 1}, not {stage}")
    if plan.stages[stage] == 100:
        return [state("traffic", False, "the candidate serves everybody: nothing is left to decide", {})]
    if plan.stages[stage] > 0:
        return _canary(Look(contract, plan, stage, current, candidate), held_hours)
    if pairs is None:
        raise InvalidInput("the shadow stage is judged by pairs; pass them, empty ones when there are none")
    return _shadow(Look(contract, plan, stage, current, candidate, pairs), pairs, held_hours)


def _canary(look: Look, held_hours: float) -> list[Verdict]:
    return [
        traffic.volume(look),
        traffic.sample_ratio(look),
        service.errors(look),
        service.latency(look),
        answers.prediction_drift(look),
        answers.estimated_performance(look, labelled=quality.sufficient(look)),
        quality.labelled_quality(look),
        traffic.hold(look, held_hours),
    ]


def _shadow(look: Look, pairs: Pairs, held_hours: float) -> list[Verdict]:
    return [
        traffic.volume(look),
        service.errors(look),
        service.latency(look),
        answers.agreement(look, pairs),
        answers.estimated_performance(look, labelled=False),
        quality.labelled_quality(look),
        traffic.hold(look, held_hours),
    ]
