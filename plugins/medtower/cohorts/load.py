"""A cohort as one frame: a column per input of the contract, `subject_id`, `event_time` (UTC) and `outcome` (NaN unknown), ordered in time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medtower.cohorts import labels, sources, synthetic
from medtower.cohorts.columns import required, subjects, times, typed
from medtower.cohorts.marginals import measurable
from medtower.domain.cohort import CohortSpec, QuerySource, Shift, SyntheticSource, TableSource
from medtower.domain.contract import Contract
from medtower.errors import CohortInvalid

TRAINING, ARRIVALS, TODAY = 0, 1, 2  # keep the draws of one seed apart: nobody who trained arrives
NOMINAL_YEAR = 2000  # for a table without `time:`, so that its order is by a hash and never by row


def load(contract: Contract, spec: CohortSpec, folder: Path) -> pd.DataFrame:
    """The cohort to train on [n rows], without what `rehearsal.hold_back` keeps for traffic. `folder` is where cohort.yaml lies. A row whose
    outcome is unknown stays, with NaN.

    Raises CohortInvalid naming columns and rules, never values; Unavailable when a database is down.
    """
    if isinstance(spec.source, SyntheticSource):
        return synthetic.draw(contract, spec.source, n=spec.source.size, seed=[TRAINING])
    frame = _from_table(contract, spec, spec.source, folder)
    return frame.iloc[: _held_from(spec, frame)].reset_index(drop=True)


def arrivals(contract: Contract, spec: CohortSpec, folder: Path, *, n: int, seed: int) -> pd.DataFrame:
    """`n` patients as they came before anything changed: drawn anew, or for a table from what was held back, in its order in time."""
    if isinstance(spec.source, SyntheticSource):
        return synthetic.draw(contract, spec.source, n=n, seed=[ARRIVALS, seed])
    return _held_back(contract, spec, spec.source, folder, n, [ARRIVALS, seed])


def today(contract: Contract, spec: CohortSpec, folder: Path, *, n: int, seed: int) -> pd.DataFrame:
    """`n` patients with the rehearsal's shifts applied; for a table these are held-back rows, measured differently."""
    shifts = spec.rehearsal.shifts
    if isinstance(spec.source, SyntheticSource):
        return synthetic.draw(contract, spec.source, n=n, seed=[TODAY, seed], shifts=shifts)
    frame = _held_back(contract, spec, spec.source, folder, n, [TODAY, seed])
    for shift in shifts:
        _measure_anew(contract, frame, shift)
    return frame


def _from_table(
    contract: Contract, spec: CohortSpec, source: TableSource | QuerySource, folder: Path
) -> pd.DataFrame:
    name = "query" if isinstance(source, QuerySource) else source.path
    table = sources.read(source, folder)
    if table.empty:
        raise CohortInvalid(name, ["the table has no rows"])
    if spec.label is None:
        raise CohortInvalid(name, ["cohort.yaml has no `label:`; say which column holds the outcome"])
    frame = pd.DataFrame(_inputs(contract, spec, table, name))
    identity = required(table, spec.subject, "subject", name) if spec.subject else _row_numbers(table)
    frame["subject_id"] = subjects(identity, name)
    moment = required(table, spec.time, "time", name) if spec.time else _nominal(table)
    frame["event_time"] = times(moment, frame["subject_id"], name)
    frame["outcome"] = labels.outcome(table, spec.label, contract.task, name)
    return frame.sort_values(["event_time", "subject_id"], kind="stable", ignore_index=True)


def _inputs(contract: Contract, spec: CohortSpec, table: pd.DataFrame, source: str) -> dict[str, pd.Series]:
    """Every input's column. All problems are collected, so that a table is corrected in one go."""
    found: dict[str, pd.Series] = {}
    problems: list[str] = []
    for each in contract.inputs:
        column = spec.columns.get(each.name, each.name)
        try:
            found[each.name] = typed(required(table, column, f"the input {each.name}", source), each, source)
        except CohortInvalid as error:
            problems += error.problems
    if problems:
        raise CohortInvalid(source, problems)
    return found


def _row_numbers(table: pd.DataFrame) -> pd.Series:
    return pd.Series([f"row-{i:06d}" for i in range(len(table))], dtype=object)


def _nominal(table: pd.DataFrame) -> pd.Series:
    return pd.Series(np.full(len(table), NOMINAL_YEAR))


def _held_from(spec: CohortSpec, frame: pd.DataFrame) -> int:
    return int(len(frame) * (1 - spec.rehearsal.hold_back))


def _held_back(
    contract: Contract,
    spec: CohortSpec,
    source: TableSource | QuerySource,
    folder: Path,
    n: int,
    seed: list[int],
) -> pd.DataFrame:
    """`n` held-back rows whose outcome is known, in time; someone who is drawn again comes as another subject."""
    if spec.rehearsal.hold_back == 0:
        raise CohortInvalid(
            "cohort.yaml", ["rehearsal.hold_back is 0, so nobody is left to replay; set 0.25 and train again"]
        )
    frame = _from_table(contract, spec, source, folder)
    later = frame.iloc[_held_from(spec, frame) :]
    later = later[later["outcome"].notna()]
    if later.empty:
        raise CohortInvalid("held-back part", ["outcome: nobody in it has one"])
    chosen = np.random.default_rng(seed).choice(len(later), size=n, replace=n > len(later))
    # rows lie in time: calendar years come in their order
    drawn = later.iloc[np.sort(chosen)].reset_index(drop=True)
    visit = drawn.groupby("subject_id").cumcount()
    again = visit > 0
    drawn.loc[again, "subject_id"] = drawn.loc[again, "subject_id"] + "#" + visit[again].astype(str)
    return drawn


def _measure_anew(contract: Contract, frame: pd.DataFrame, shift: Shift) -> None:
    values = frame[shift.input].to_numpy(dtype=np.float64) * shift.factor + shift.offset
    frame[shift.input] = measurable(contract.input(shift.input), values)
