from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.fixtures.onnx_models import linear
from tests.fixtures.releases import contract

from medtower.domain.contract import Contract, Input
from medtower.errors import ModelMisbehaved
from medtower.serving import golden


def every_dtype() -> Contract:
    base = contract("sum_model")
    inputs = [
        Input(name="level", dtype="float", range=(0.5, 2.5)),
        Input(name="visits", dtype="integer", range=(3, 5)),
        Input(name="smoker", dtype="boolean", missing="impute", absent_means="not asked"),
        Input(name="sex", dtype="category", categories=["F", "M", "X"]),
    ]
    return base.model_copy(update={"inputs": inputs})


def test_golden_rows_lie_in_range_and_miss_only_what_may_be_missing() -> None:
    rows = golden.rows(every_dtype(), 400)
    level, visits, smoker, sex = (list(column) for column in zip(*rows, strict=True))
    assert all(v is not None and 0.5 <= v <= 2.5 for v in level)
    assert set(visits) == {3.0, 4.0, 5.0}
    assert set(smoker) == {0.0, 1.0, None}
    assert set(sex) == {0.0, 1.0, 2.0}


def test_golden_rows_are_the_same_at_every_call() -> None:
    assert golden.rows(every_dtype()) == golden.rows(every_dtype())
    assert len(golden.rows(every_dtype())) == 16


def test_golden_answers_are_those_of_the_weights(tmp_path: Path) -> None:
    linear(tmp_path / "model.onnx", 3, offset=2.0)
    made = golden.make(contract("sum_model"), tmp_path / "model.onnx")
    assert made.expected == pytest.approx([sum(v or 0 for v in row) + 2 for row in made.rows], rel=1e-6)


def test_weights_that_answer_nan_have_no_golden_answers(tmp_path: Path) -> None:
    linear(tmp_path / "model.onnx", 3, offset=math.nan)
    with pytest.raises(ModelMisbehaved, match="finite"):
        golden.make(contract("sum_model"), tmp_path / "model.onnx")


def test_the_check_is_relative_above_one_and_absolute_below() -> None:
    assert golden.check([100.0, 0.1], [100.05, 0.1], 1e-3, model="m1", version=1) == pytest.approx(5e-4)
    with pytest.raises(ModelMisbehaved, match="differ by"):
        golden.check([0.1], [0.102], 1e-3, model="m1", version=1)
    with pytest.raises(ModelMisbehaved, match="differ by nan"):
        golden.check([0.1], [math.nan], 1e-3, model="m1", version=1)
    with pytest.raises(ModelMisbehaved, match="1 golden answers, 2 were due"):
        golden.check([0.1, 0.2], [0.1], 1e-3, model="m1", version=1)
