from __future__ import annotations

from typing import Any

import pytest
from tests.gateway.conftest import RISK, SCORE

from medtower.domain.contract import Contract
from medtower.gateway.answering.disagreement import disagree, tolerance


def risk(**output: Any) -> Contract:
    return Contract.model_validate(RISK | {"output": RISK["output"] | output})


def score(**output: Any) -> Contract:
    return Contract.model_validate(SCORE | {"output": SCORE["output"] | output})


@pytest.mark.parametrize(
    ("value", "shadowed", "expected"),
    [
        (0.7, 0.9, False),
        (0.1, 0.39, False),
        (0.7, 0.3, True),
        (0.49, 0.51, True),
        # the same label, and one of them alone asks for human review (floor 0.6)
        (0.7, 0.55, True),
        (0.55, 0.52, False),
        (0.45, 0.2, True),
    ],
)
def test_two_risks_disagree_across_the_threshold_or_the_confidence_floor(
    value: float, shadowed: float, expected: bool
) -> None:
    assert disagree(risk(), value, risk(), shadowed) is expected


def test_each_answer_is_read_by_its_own_contract() -> None:
    assert disagree(risk(), 0.7, risk(threshold=0.8), 0.7)
    assert not disagree(risk(), 0.7, risk(threshold=0.1), 0.7)
    assert disagree(risk(), 0.7, risk(confidence_floor=0.75), 0.7)
    assert disagree(risk(), 0.7, score(), 0.7)


@pytest.mark.parametrize(
    ("value", "shadowed", "expected"),
    # the primary metric is in the output's unit, and so is the margin, 0.02
    [
        (5.0, 5.019, False),
        (5.0, 5.021, True),
        (5.0, 4.979, True),
        (9.995, 10.005, True),
        (11.0, 11.01, False),
    ],
)
def test_two_numbers_disagree_beyond_the_margin_or_across_the_range(
    value: float, shadowed: float, expected: bool
) -> None:
    assert disagree(score(), value, score(), shadowed) is expected


def test_without_a_range_a_tenth_is_tolerated() -> None:
    bare = score(range=None)
    assert tolerance(bare, -20.0) == pytest.approx(2.0)
    assert not disagree(bare, 20.0, bare, 21.9)
    assert disagree(bare, 20.0, bare, 22.1)
    assert tolerance(score(), 5.0) == pytest.approx(0.02)
    relative = score().model_copy(update={"gates": score().gates.model_copy(update={"primary": "r2"})})
    assert tolerance(relative, 5.0) == pytest.approx(0.2)  # of the width 10
