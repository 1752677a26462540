"""When two versions say materially different things about one case."""

from __future__ import annotations

from medtower.domain.contract import Contract
from medtower.domain.inference import confidence, label, review_reason
from medtower.domain.rollout import range_unit

RELATIVE = 0.1


def disagree(current: Contract, value: float, shadow: Contract, shadowed: float) -> bool:
    """Whether the patient would have been told another thing by the shadow: each answer is read by its own version's contract.

    Classification: another label, or one of them alone asks for human review. Regression: one of them alone lies outside its range, or the
    numbers differ by more than the shadow's contract tolerates.
    """
    if label(current, value) != label(shadow, shadowed):
        return True
    if _doubtful(current, value) != _doubtful(shadow, shadowed):
        return True
    return shadow.task == "regression" and abs(shadowed - value) > tolerance(shadow, value)


def tolerance(contract: Contract, value: float) -> float:
    """How far another number may lie from `value` (both in the output's unit): the quality margin of the rollout, which is in that unit or a share
    of the output's range (`range_unit`); without a range 10 % of `value`."""
    if contract.output.range is None:
        return RELATIVE * abs(value)
    low, high = contract.output.range
    return contract.rollout.margins.quality * (high - low) / range_unit(contract, contract.output.range)


def _doubtful(contract: Contract, value: float) -> bool:
    return review_reason(contract, confidence(contract, value)) is not None
