"""The outcome of every patient of a table: read from a column, or an event within a horizon from follow-up."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtower.cohorts.columns import numbers, required
from medtower.domain.cohort import ColumnLabel, Label, SurvivalLabel
from medtower.domain.metric import Task
from medtower.errors import CohortInvalid


def outcome(table: pd.DataFrame, label: Label, task: Task, source: str) -> NDArray[np.float64]:
    """The outcome [n]: 0 or 1 for a classification, a number else, NaN where it is unknown.

    Raises CohortInvalid naming the column when it is missing, not numeric, or not 0/1 where it must be.
    """
    if isinstance(label, SurvivalLabel):
        return survival(table, label, source)
    return _column(table, label, task, source)


def survival(table: pd.DataFrame, label: SurvivalLabel, source: str) -> NDArray[np.float64]:
    """1 when the event came within the horizon, 0 when follow-up reached it without, NaN when follow-up was censored before it.

    The fixed-horizon reduction of right-censored data; leaving the censored out assumes censoring that does not depend on risk
    (Harrell, Regression Modeling Strategies, 2015, §17).
    """
    days = numbers(required(table, label.follow_up, "label.follow_up", source), source)
    event = numbers(required(table, label.event, "label.event", source), source)
    if not np.isin(event[~np.isnan(event)], (0, 1)).all():
        raise CohortInvalid(source, [f"{label.event}: an event is 0 or 1, other values are there"])
    if (days < 0).any():
        raise CohortInvalid(source, [f"{label.follow_up}: follow-up in days is never negative"])
    in_time = days <= label.horizon_days
    known = np.where(in_time, np.where(event == 1, 1.0, np.nan), 0.0)
    # a person followed up to the horizon itself, alive, reached it
    known[(days == label.horizon_days) & (event == 0)] = 0.0
    known[np.isnan(days) | np.isnan(event)] = np.nan
    return known


def _column(table: pd.DataFrame, label: ColumnLabel, task: Task, source: str) -> NDArray[np.float64]:
    values = numbers(required(table, label.column, "label.column", source), source)
    if task == "classification" and not np.isin(values[~np.isnan(values)], (0, 1)).all():
        what = (
            f"{label.column}: the outcome of a classification is 0 or 1, other values are there; recode them"
        )
        raise CohortInvalid(source, [what])
    return values
