"""Columns of a raw table turned into what a contract means: numbers, categories, booleans, times. Never guesses: what does not fit is refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtower.domain.contract import Input
from medtower.errors import CohortInvalid

TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
FIRST_YEAR, LAST_YEAR = 1850, 2200


def required(table: pd.DataFrame, column: str, asked_by: str, source: str) -> pd.Series:
    """The column; raises CohortInvalid naming it and who asked for it when the table has none."""
    if column not in table.columns:
        what = f"{column}: the column is missing, {asked_by} needs it; add it or map another under `columns:`"
        raise CohortInvalid(source, [what])
    return table[column]


def numbers(column: pd.Series, source: str) -> NDArray[np.float64]:
    """The column as float64 [n], NaN missing; raises CohortInvalid with the count of values that are no finite numbers."""
    if pd.api.types.is_datetime64_any_dtype(column):
        raise CohortInvalid(source, [f"{column.name}: holds dates where numbers are expected"])
    values = np.asarray(pd.to_numeric(column, errors="coerce").astype(np.float64))
    wrong = int((np.isnan(values) & column.notna().to_numpy()).sum() + np.isinf(values).sum())
    if wrong:
        raise CohortInvalid(
            source, [f"{column.name}: {wrong} of {len(values)} values are not finite numbers"]
        )
    return values


def typed(column: pd.Series, spec: Input, source: str) -> pd.Series:
    """The column as the contract's dtype: float64, str or None, bool or None, a tuple of float or None; raises CohortInvalid when the type is wrong."""
    if spec.dtype in ("category", "text"):
        return _texts(column)
    if spec.dtype == "sequence":
        return sequences(column, source)
    if spec.dtype == "boolean":
        return _booleans(column, source)
    values = numbers(column, source)
    fractions = int((values % 1 > 0).sum())
    if spec.dtype == "integer" and fractions:
        what = f"{column.name}: {fractions} values are not whole numbers and the contract says integer"
        raise CohortInvalid(source, [what + "; write `dtype: float` or round them at the source"])
    return pd.Series(values, dtype=np.float64)


def _texts(column: pd.Series) -> pd.Series:
    return pd.Series([None if pd.isna(v) else _text(v) for v in column], dtype=object)


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():  # a column of codes with a gap arrives as floats
        return str(int(value))
    return str(value)


def _booleans(column: pd.Series, source: str) -> pd.Series:
    words = [None if v is None else v.strip().lower() for v in _texts(column)]
    wrong = sum(w is not None and w not in TRUE + FALSE for w in words)
    if wrong:
        what = f"{column.name}: {wrong} of {len(words)} values are neither true/false, yes/no nor 1/0"
        raise CohortInvalid(source, [what])
    return pd.Series([None if w is None else w in TRUE for w in words], dtype=object)


def sequences(column: pd.Series, source: str) -> pd.Series:
    """Lists of numbers, as a Parquet file has them or written `[1, 2.5]` (JSON) in a CSV, as tuples of float, None missing; raises CohortInvalid with
    the count of values that are none."""
    found = [None if _absent(v) else _sequence(v) for v in column]
    wrong = sum(v is None and not _absent(old) for v, old in zip(found, column, strict=True))
    if wrong:
        what = (
            f"{column.name}: {wrong} of {len(found)} values are not lists of finite numbers such as [1, 2.5]"
        )
        raise CohortInvalid(source, [what])
    return pd.Series(found, dtype=object)


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _sequence(value: object) -> tuple[float, ...] | None:
    try:
        items: Any = json.loads(value) if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(items, list):
        return None
    plain = [v.item() if isinstance(v, np.generic) else v for v in items]
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) < np.inf for v in plain):
        return None
    return tuple(float(v) for v in plain)


def subjects(column: pd.Series, source: str) -> pd.Series:
    """The identity of every row as text; raises CohortInvalid when one is missing."""
    texts = _texts(column)
    if missing := int(texts.isna().sum()):
        raise CohortInvalid(source, [f"{column.name}: {missing} rows have no subject"])
    return texts


def times(column: pd.Series, subject: pd.Series, source: str) -> pd.Series:
    """The event time in UTC. A year has no day: its patients are spread over it by a hash of the subject, so that the order of rows,
    which may follow age or outcome, never becomes an order in time. Raises CohortInvalid when a value is no year and no timestamp."""
    if pd.api.types.is_numeric_dtype(column):
        years = numbers(column, source)
        if not ((years % 1 == 0) & (years >= FIRST_YEAR) & (years <= LAST_YEAR)).all():
            what = f"{column.name}: numbers as times must be years between {FIRST_YEAR} and {LAST_YEAR}"
            raise CohortInvalid(source, [what])
        return _within_year(years, subject)
    parsed = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    if wrong := int(parsed.isna().sum()):
        what = f"{column.name}: {wrong} of {len(parsed)} values are not ISO 8601 times such as 2026-01-31T08:00:00Z"
        raise CohortInvalid(source, [what])
    return parsed.dt.as_unit("ns").reset_index(drop=True)


def spread(subject: str) -> float:
    """A number in [0, 1) that depends on nothing but the subject."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:6], "big") / 2**48


def _within_year(years: NDArray[np.float64], subject: pd.Series) -> pd.Series:
    starts = pd.to_datetime([f"{int(y)}-01-01" for y in years], utc=True)
    seconds = [int(spread(s) * 365 * 86_400) for s in subject]
    return pd.Series((starts + pd.to_timedelta(seconds, unit="s")).as_unit("ns"))
