"""What must hold of a cohort before anything is trained on it, checked with Great Expectations; failing values never leave this module."""

from __future__ import annotations

import logging
import math
import os
import warnings
from typing import Any

import numpy as np
import pandas as pd

from medtower.cohorts.leakage import leaks
from medtower.domain.contract import Contract, Input
from medtower.domain.text_hashing import Buckets
from medtower.errors import CohortInvalid

# of the values where gaps are allowed: the encoding takes the few outside for missing, more than that are another unit
IN_RANGE = 0.99
ROW = ("subject_id", "event_time", "outcome")


def validate(frame: pd.DataFrame, contract: Contract, *, minimum: int = 200) -> list[dict[str, Any]]:
    """The expectations that hold, each {name, column, n}: columns, types, ranges, gaps, categories, at least `minimum` rows with an
    outcome, both classes, times, no row twice, no leakage of the target.

    Raises CohortInvalid with every problem, naming column and rule and what to do, never a value.
    """
    if absent := [c for c in (*contract.input_names, *ROW) if c not in frame.columns]:
        raise CohortInvalid(
            contract.name, [f"{c}: the column is missing; map it in cohort.yaml" for c in absent]
        )
    problems = _shape(frame, contract, minimum)
    wrong = [_wrong_type(frame[i.name], i) for i in contract.inputs]
    if problems + (mistyped := [w for w in wrong if w]):
        raise CohortInvalid(contract.name, problems + mistyped)
    passed, failed = _expect(frame, contract, minimum)
    failed += leaks(frame, contract)
    if failed:
        raise CohortInvalid(contract.name, failed)
    leakage = [
        {"name": "no leakage of the target", "column": i, "n": len(frame)} for i in contract.input_names
    ]
    return passed + leakage


def _shape(frame: pd.DataFrame, contract: Contract, minimum: int) -> list[str]:
    """Rules on which the others stand: types of the row's own columns and enough known outcomes."""
    problems = []
    if not pd.api.types.is_float_dtype(frame["outcome"]):
        return ["outcome: must be a column of numbers (float64), NaN where it is unknown"]
    if not isinstance(frame["event_time"].dtype, pd.DatetimeTZDtype):
        problems.append("event_time: must be timestamps in UTC; name the column with `time:`")
    known = frame["outcome"].dropna()
    if len(known) < minimum:
        problems.append(f"outcome: {len(known)} rows have one and at least {minimum} are needed")
    if np.isinf(known).any():
        problems.append("outcome: holds infinite numbers")
    elif contract.task == "classification" and not known.isin((0.0, 1.0)).all():
        problems.append("outcome: must be 0 or 1 for a classification; recode it")
    elif len(known) and known.nunique() < 2:
        what = "only one class" if contract.task == "classification" else "only one value"
        problems.append(f"outcome: {what} is there, nothing can be learnt; widen the query or the horizon")
    return problems


def _wrong_type(column: pd.Series, spec: Input) -> str:
    if spec.dtype in ("float", "integer"):
        fits = pd.api.types.is_float_dtype(column)
    elif spec.dtype == "sequence":
        fits = all(v is None or isinstance(v, tuple) for v in column)
    else:
        kind = (bool, np.bool_) if spec.dtype == "boolean" else (str, Buckets)
        fits = all(v is None or isinstance(v, kind) or pd.isna(v) for v in column)
    wanted = {
        "category": "text", "text": "text", "boolean": "true or false", "sequence": "lists of numbers"
    }.get(spec.dtype, "numbers")  # fmt: skip
    return "" if fits else f"{spec.name}: wrong type, the contract says {spec.dtype}; give {wanted}"


def _expect(frame: pd.DataFrame, contract: Contract, minimum: int) -> tuple[list[dict[str, Any]], list[str]]:
    with warnings.catch_warnings():  # Great Expectations and what it imports warn about their own future
        warnings.simplefilter("ignore")
        gx = _great_expectations()
        suite = _suite(gx.expectations, frame, contract, minimum)
        results = _validated(gx, _flat(frame, contract), [expectation for _, expectation in suite])
    passed: list[dict[str, Any]] = []
    failed: list[str] = []
    for k, (rule, expectation) in enumerate(suite):
        if results[k].success:
            column = getattr(expectation, "column", "")
            passed.append({"name": expectation.expectation_type, "column": column, "n": len(frame)})
        else:
            # the one part of the result that is no patient's value
            count = results[k].result.get("unexpected_count")
            failed.append(rule + (f" ({count} rows)" if count else ""))
    return passed, failed


def _flat(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """`frame` with a column each for the length and the extremes of every sequence: rules are about numbers and texts."""
    flat = frame.copy(deep=False)
    for spec in contract.inputs:
        if spec.dtype == "sequence":
            for what, measure in (("length", len), ("lowest", min), ("highest", max)):
                flat[f"{spec.name}.{what}"] = [measure(v) if v else np.nan for v in frame[spec.name]]
        elif spec.dtype == "text":
            flat[f"{spec.name}.length"] = [len(v) if isinstance(v, str) else np.nan for v in frame[spec.name]]
    return flat


def _great_expectations() -> Any:
    # read at import: nothing about a cohort is reported to anybody
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx
    import great_expectations.expectations

    # its import sets this one back to INFO, which announces every context
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    return gx


def _suite(gxe: Any, frame: pd.DataFrame, contract: Contract, minimum: int) -> list[tuple[str, Any]]:
    """(the line to show when it fails, the expectation) for the row's own columns and for every input."""
    twice = "subject_id, event_time: the same person stands twice at one moment; keep one row"
    suite: list[tuple[str, Any]] = [
        (f"the table has fewer than {minimum} rows", gxe.ExpectTableRowCountToBeBetween(min_value=minimum)),
        ("event_time: is missing", gxe.ExpectColumnValuesToNotBeNull(column="event_time")),
        ("subject_id: is missing", gxe.ExpectColumnValuesToNotBeNull(column="subject_id")),
        (twice, gxe.ExpectCompoundColumnsToBeUnique(column_list=["subject_id", "event_time"])),
    ]
    for spec in contract.inputs:
        empty = bool(frame[spec.name].isna().all())
        suite += _gaps(gxe, spec) + ([] if empty else _values(gxe, spec))
    return suite


def _gaps(gxe: Any, spec: Input) -> list[tuple[str, Any]]:
    name = spec.name
    if spec.missing == "refuse":
        rule = f"{name}: has gaps and the contract says `missing: refuse`; fill them at the source, leave the rows out or allow the gap"
        return [(rule, gxe.ExpectColumnValuesToNotBeNull(column=name))]
    rule = f"{name}: every value is missing; correct the column's name or remove the input"
    return [(rule, gxe.ExpectColumnUniqueValueCountToBeBetween(column=name, min_value=1))]


def _values(gxe: Any, spec: Input) -> list[tuple[str, Any]]:
    name = spec.name
    if spec.dtype == "category":
        rule = f"{name}: holds categories that the contract does not list; add or recode them"
        return [(rule, gxe.ExpectColumnValuesToBeInSet(column=name, value_set=list(spec.categories or [])))]
    if spec.dtype == "boolean":
        return []
    if spec.dtype == "text":
        return [_length(gxe, spec, 0, spec.max_length or 0, "characters")]
    if spec.dtype == "sequence":
        least, most = spec.length or (0, 0)
        return [
            _length(gxe, spec, least, most, "numbers"),
            _in_range(gxe, spec, f"{name}.lowest"),
            _in_range(gxe, spec, f"{name}.highest"),
        ]
    return [_in_range(gxe, spec, name)]


def _length(gxe: Any, spec: Input, least: int, most: int, of: str) -> tuple[str, Any]:
    rule = f"{spec.name}: some have fewer than {least} or more than {most} {of}; correct the length in the contract or cut them at the source"
    column = f"{spec.name}.length"
    return rule, gxe.ExpectColumnValuesToBeBetween(column=column, min_value=least, max_value=most)


def _in_range(gxe: Any, spec: Input, column: str) -> tuple[str, Any]:
    name = spec.name
    low, high = spec.range or (-math.inf, math.inf)
    mostly = IN_RANGE if spec.missing == "impute" else 1.0
    rule = (
        f"{name}: {f'more than {1 - mostly:.0%} of the' if mostly < 1 else 'some'} values lie outside "
        f"[{low:g}, {high:g}] {spec.unit}; is it another unit? Convert it, leave the rows out or correct the range"
    )
    # a border value that comes back from a record in single precision is still inside
    least, most = min(low, float(np.float32(low))), max(high, float(np.float32(high)))
    return rule, gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=least, max_value=most, mostly=mostly
    )


def _validated(gx: Any, frame: pd.DataFrame, expectations: list[Any]) -> dict[int, Any]:
    """The result of every expectation by its place in `expectations`; no failing value is asked for, so none is kept."""
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("cohort").add_dataframe_asset("cohort")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    for place, expectation in enumerate(expectations):
        expectation.meta = {"place": place}  # the results come in another order
    done = batch.validate(
        gx.ExpectationSuite(name="cohort", expectations=expectations),
        result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
    )
    return {r.expectation_config.meta["place"]: r for r in done.results}
