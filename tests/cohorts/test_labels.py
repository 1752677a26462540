from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medtower.cohorts.labels import outcome
from medtower.domain.cohort import ColumnLabel, SurvivalLabel
from medtower.errors import CohortInvalid

SURVIVAL = SurvivalLabel(kind="survival", follow_up="days", event="died", horizon_days=100)


def test_survival_is_known_only_for_those_followed_to_the_horizon() -> None:
    table = pd.DataFrame({"days": [50, 100, 101, 50, 100, 101, None], "died": [1, 1, 1, 0, 0, 0, 1]})
    found = outcome(table, SURVIVAL, "classification", "study")
    np.testing.assert_array_equal(found, [1, 1, 0, np.nan, 0, 0, np.nan])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"days": [1, -2], "died": [0, 1]}, "days: follow-up in days is never negative"),
        ({"days": [1, 2], "died": [0, 3]}, "died: an event is 0 or 1"),
        ({"days": [1, 2]}, r"died: the column is missing, label\.event needs it"),
    ],
)
def test_follow_up_that_cannot_be_is_refused(table: dict[str, list[int]], said: str) -> None:
    with pytest.raises(CohortInvalid, match=said):
        outcome(pd.DataFrame(table), SURVIVAL, "classification", "study")


def test_a_regression_takes_any_number_and_keeps_the_unknown() -> None:
    table = pd.DataFrame({"score": [1.5, None, -3.0]})
    found = outcome(table, ColumnLabel(kind="column", column="score"), "regression", "study")
    np.testing.assert_array_equal(found, [1.5, np.nan, -3.0])
