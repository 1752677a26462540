from __future__ import annotations

import numpy as np
import pytest

from medtower.errors import InvalidInput, ModelMisbehaved
from medtower.evaluation.holdout import Holdout


def test_rows_without_a_known_outcome_are_left_out_everywhere(classifier):
    mask = np.array([True, True, False, False])
    holdout = Holdout.of(classifier(), [1, np.nan, 0, np.nan], [0.9, 0.8, 0.7, 0.6], {"sex=F": mask})
    assert holdout.y.tolist() == [1, 0]
    assert holdout.score.tolist() == [0.9, 0.7]
    assert holdout.populations["sex=F"].tolist() == [True, False]
    assert (holdout.n, holdout.positives) == (2, 1)
    assert holdout.within(holdout.populations["sex=F"]).score.tolist() == [0.9]


def test_a_models_column_of_answers_counts_as_a_row_each(classifier):
    assert Holdout.of(classifier(), [1, 0], np.array([[0.9], [0.1]], dtype=np.float32)).score.shape == (2,)


@pytest.mark.parametrize(
    ("y", "score", "error", "message"),
    [
        ([1, 0], [0.5], InvalidInput, "score has shape"),
        ([1, 0], [[0.5, 0.5], [0.5, 0.5]], InvalidInput, "pass one number a row"),
        ([1, 0], [np.nan, 0.5], ModelMisbehaved, "some_risk: 1 of 2 scores are not finite"),
        ([np.inf, 0], [0.5, 0.5], InvalidInput, "infinite outcome"),
        ([2, 0], [0.5, 0.5], InvalidInput, "neither 0 nor 1"),
        ([1, 0], [1.5, 0.5], ModelMisbehaved, "a probability, not a logit"),
    ],
)
def test_rows_that_cannot_be_evaluated_are_refused(classifier, y, score, error, message):
    with pytest.raises(error, match=message):
        Holdout.of(classifier(), y, score)


def test_a_mask_of_other_rows_is_refused(classifier):
    with pytest.raises(InvalidInput, match="sex=F has shape"):
        Holdout.of(classifier(), [1, 0], [0.5, 0.5], {"sex=F": [True]})


def test_a_regression_may_answer_any_finite_number(regressor):
    assert Holdout.of(regressor(), [1, 250], [-3, 400]).n == 2
