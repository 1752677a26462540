"""A first draft of a contract's inputs from a table. Ranges are padded and rounded outwards: no patient's extreme value is copied."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtower.cohorts.columns import FALSE, FIRST_YEAR, LAST_YEAR, TRUE, sequences
from medtower.domain.contract import Input
from medtower.domain.metric import Task
from medtower.domain.unit import UNITS
from medtower.errors import CohortInvalid

OUTCOMES = ("outcome", "label", "target", "event", "y", "class", "diagnosis")
SUBJECTS = ("subject", "subject_id", "patient", "patient_id", "person", "person_id", "mrn", "id")
TIMES = ("event_time", "time", "timestamp", "date", "sample_date", "visit_date", "year")
MOST_CATEGORIES = 20
LEAST_WORDS, BUCKETS, LONGEST_SEQUENCE = 5, 64, 2048
LEAST_IDENTIFIERS = 50  # below that many rows a whole number may be different everywhere by chance


@dataclass(frozen=True)
class Draft:
    """What a table suggests: inputs, the column each is read from, outcome, subject and time columns, and columns left out with the reason."""

    inputs: list[Input]
    columns: dict[str, str]
    outcome: str
    prevalence: float | None
    subject: str | None
    time: str | None
    left_out: dict[str, str]


def draft(table: pd.DataFrame, task: Task, source: str) -> Draft:
    """Read `table` as a cohort. Raises CohortInvalid when no column can be the outcome or none can be an input."""
    names = [str(c) for c in table.columns]
    table = table.set_axis(names, axis=1)
    outcome = _outcome(table, task, source)
    subject = _named(names, SUBJECTS, {outcome})
    time = next((n for n in names if n.lower() in TIMES and n != outcome and _is_time(table[n])), None)
    inputs: list[Input] = []
    columns: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for column in names:
        if column in (outcome, subject, time):
            continue
        name = _input_name(column, {i.name for i in inputs})
        try:
            inputs.append(_input(table[column], name))
            columns[name] = column
        except ValueError as error:
            left_out[column] = str(error)
    if not inputs:
        raise CohortInvalid(
            source, ["no column can be an input: " + "; ".join(f"{c} {w}" for c, w in left_out.items())]
        )
    prevalence = float(pd.to_numeric(table[outcome]).mean()) if task == "classification" else None
    return Draft(inputs, columns, outcome, prevalence, subject, time, left_out)


def _named(names: list[str], wanted: tuple[str, ...], taken: set[str]) -> str | None:
    return next((n for w in wanted for n in names if n.lower() == w and n not in taken), None)


def _outcome(table: pd.DataFrame, task: Task, source: str) -> str:
    fitting = [str(c) for c in table.columns if _can_be_outcome(table[c], task)]
    found = _named(fitting, OUTCOMES, set()) or (fitting[-1] if fitting else None)
    if found is None:
        wanted = "0 and 1" if task == "classification" else "numbers"
        raise CohortInvalid(source, [f"no column holds an outcome, {wanted}; add one called `outcome`"])
    return found


def _can_be_outcome(column: pd.Series, task: Task) -> bool:
    if not pd.api.types.is_numeric_dtype(column) or str(column.name).lower() in SUBJECTS + TIMES:
        return False
    values = column.dropna().astype(float)
    return set(values.unique()) == {0.0, 1.0} if task == "classification" else values.nunique() > 1


def _is_time(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(column):
        return bool(
            column.notna().all() and column.between(FIRST_YEAR, LAST_YEAR).all() and (column % 1 == 0).all()
        )
    return bool(pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601").notna().all())


def _input_name(column: str, taken: set[str]) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")[:50] or "input"
    if not name[0].isalpha() or len(name) < 2:
        name = f"x_{name}"
    number = 2
    unique = name
    while unique in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def _input(column: pd.Series, name: str) -> Input:
    """One input; raises ValueError with the reason when the column is none."""
    known = column.dropna()
    if known.empty:
        raise ValueError("is empty")
    if known.nunique() == 1:
        raise ValueError("has the same value in every row")
    if _identifies(known, name):
        raise ValueError("is different in every row and looks like an identifier")
    gap = {} if len(known) == len(column) else {"missing": "impute", "absent_means": "not recorded"}
    words = {str(v).lower() for v in known.unique()} if known.nunique() <= 2 else set()
    numeric = pd.api.types.is_numeric_dtype(column)
    if words and (words <= {*TRUE, *FALSE} or words <= {"0.0", "1.0"}):
        return Input.model_validate({"name": name, "dtype": "boolean", **gap})
    if not numeric and (lists := _lists(known, name)):
        return Input.model_validate({"name": name, "dtype": "sequence", **lists, **gap})
    if not numeric and _prose(known):
        longest = int(known.astype(str).str.len().max())
        return Input.model_validate(
            {
                "name": name,
                "dtype": "text",
                "max_length": _most_characters(longest),
                "buckets": BUCKETS,
                **gap,
            }
        )
    if not numeric:
        categories = sorted(known.astype(str).unique())
        if len(categories) > MOST_CATEGORIES:
            raise ValueError(f"is text with more than {MOST_CATEGORIES} different values")
        return Input.model_validate({"name": name, "dtype": "category", "categories": categories, **gap})
    values = known.to_numpy(dtype=np.float64)
    dtype = "integer" if (values % 1 == 0).all() else "float"
    return Input.model_validate(
        {"name": name, "dtype": dtype, "unit": _unit(name), "range": _range(values), **gap}
    )


def _lists(known: pd.Series, name: str) -> dict[str, object]:
    """What a contract says of a column of lists of numbers; empty when it is none."""
    if not known.map(lambda v: not isinstance(v, str) or v.lstrip().startswith("[")).all():
        return {}
    try:
        found = sequences(known, "")
    except CohortInvalid:
        return {}
    lengths = found.map(len)
    if lengths.min() < 1 or not 2 <= lengths.max() <= LONGEST_SEQUENCE:
        return {}
    values = np.concatenate([np.array(v) for v in found])
    if values.min() == values.max():
        return {}
    return {
        "unit": _unit(name), "range": _range(values), "length": [int(lengths.min()), int(lengths.max())]
    }  # fmt: skip


def _prose(known: pd.Series) -> bool:
    """Different nearly everywhere and of several words."""
    texts = known.astype(str)
    many = texts.nunique() > max(MOST_CATEGORIES, len(texts) / 4)
    return bool(many and texts.str.split().map(len).median() >= LEAST_WORDS)


def _most_characters(longest: int) -> int:
    """Room for a text twice as long as the longest that was seen, on a round number; the number itself would be one patient's."""
    return min(20_000, 100 * math.ceil(2 * longest / 100))


def _identifies(known: pd.Series, name: str) -> bool:
    whole = pd.api.types.is_integer_dtype(known) and len(known) >= LEAST_IDENTIFIERS
    return bool(known.is_unique and (whole or name in SUBJECTS))


def _range(values: NDArray[np.float64]) -> list[float]:
    """A range that holds every value, wider by a quarter of the middle 98 %, on round numbers; never below 0 when no value is."""
    low, high = float(values.min()), float(values.max())
    spread = float(np.subtract(*np.quantile(values, [0.99, 0.01]))) or high - low
    step = _round_step(spread / 4)
    bottom = math.floor((low - spread / 4) / step) * step
    top = math.ceil((high + spread / 4) / step) * step
    return [max(0.0, _tidy(bottom)) if low >= 0 else _tidy(bottom), _tidy(top)]


def _round_step(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next(m * power for m in (5, 2, 1) if m * power <= width)


def _tidy(value: float) -> float:
    return float(f"{value:.6g}")


def _unit(name: str) -> str:
    """The unit that the end of a column's name spells (`creatinine_mg_dl`), years for an age, else dimensionless."""
    if name == "age" or name.endswith(("_years", "_age")):
        return "a"
    spelt = {re.sub(r"[^a-z0-9]+", "_", unit.lower()).strip("_"): unit for unit in UNITS}
    endings = sorted((s for s in spelt if len(s) > 1 and name.endswith(f"_{s}")), key=len)
    return spelt[endings[-1]] if endings else "1"
