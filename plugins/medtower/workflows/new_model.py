"""Make the folder of a new model: a contract, a cohort, an empty release, all valid from the first moment."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import yaml

from medtower.adapters import contracts
from medtower.domain.contract import Input, check_model_name
from medtower.domain.metric import Task
from medtower.errors import CohortInvalid, Conflict, InvalidInput
from medtower.workflows.new_model_text import COHORT, EXAMPLE_COHORT, KPIS, KUSTOMIZATION, MODEL, RELEASE

if TYPE_CHECKING:
    from medtower.cohorts.infer import Draft

EXAMPLE = [
    Input(name="age", dtype="integer", unit="a", range=(18, 110), description="age at the visit"),
    Input(name="sex", dtype="category", categories=["F", "M"]),
    Input(
        name="biomarker",
        dtype="float",
        unit="mg/L",
        range=(0, 100),
        missing="impute",
        absent_means="not ordered",
    ),
]


def scaffold(models: Path, name: str, task: str, table: Path | None) -> Path:
    """Make `models`/`name`/ and return it. With a `table` (CSV or Parquet) the inputs are inferred from it, else they are an example with a
    synthetic cohort.

    All or nothing. Raises NameInvalid, InvalidInput for another task, Conflict when the folder is there already, CohortInvalid for a table
    that cannot be a cohort.
    """
    folder = models / check_model_name(name)
    if task not in get_args(Task):
        raise InvalidInput(f"'{task[:40]}' is not a task; write one of {', '.join(get_args(Task))}")
    if folder.exists():
        raise Conflict(f"{folder} is there already; choose another name, or edit its model.yaml")
    files = _example(name, task) if table is None else _from_table(name, cast(Task, task), table)
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-model-", dir=models) as place:
        made = Path(place) / name
        made.mkdir()
        for filename, text in files.items():
            (made / filename).write_text(text, encoding="utf-8")
        contracts.read_cohort(made)  # what is handed over is valid, or nothing is
        try:
            made.rename(folder)
        except OSError:
            raise Conflict(f"{folder} was made by somebody else meanwhile; look at it first") from None
    return folder


def _example(name: str, task: str) -> dict[str, str]:
    noise = "  noise: 0.3\n" if task == "regression" else ""
    return {
        "model.yaml": _model(name, task, EXAMPLE, 0.5, ""),
        "cohort.yaml": EXAMPLE_COHORT.format(noise=noise),
        **_release(name),
    }


def _from_table(name: str, task: Task, table: Path) -> dict[str, str]:
    from medtower.cohorts.infer import draft
    from medtower.cohorts.sources import read
    from medtower.domain.cohort import TableSource

    suffix = table.suffix.lower().lstrip(".")
    if suffix not in ("csv", "parquet"):
        raise CohortInvalid(table.name, ["a table is a .csv or a .parquet file; convert it"])
    source = TableSource.model_validate({"kind": suffix, "path": str(table.resolve())})
    found = draft(read(source, table.parent), task, table.name)
    left = "".join(f"  # left out: {json.dumps(column)} {why}\n" for column, why in found.left_out.items())
    threshold = 0.5 if found.prevalence is None else min(0.95, max(0.05, round(found.prevalence, 2)))
    return {
        "model.yaml": _model(name, task, found.inputs, threshold, left),
        "cohort.yaml": _cohort(name, source.kind, source.path, found),
        **_release(name),
    }


def _model(name: str, task: str, inputs: list[Input], threshold: float, left_out: str) -> str:
    title = name.replace("_", " ").capitalize()
    unit, extra = "1", ""
    if task == "classification":
        unit = "{probability}"
        extra = f"  range: [0, 1]\n  # a probability from here on is answered as positive\n  threshold: {threshold:g}\n"
    return MODEL.format(
        name=name,
        title=title,
        task=task,
        inputs="".join(_input(i) for i in inputs) + left_out,
        output_unit=_text(unit),
        output_extra=extra,
        kpis=KPIS[task],
        primary="auc_roc" if task == "classification" else "r2",
    )


def _input(spec: Input) -> str:
    facts = spec.model_dump(mode="json", exclude_defaults=True)
    facts["dtype"] = spec.dtype
    if spec.dtype in ("float", "integer", "sequence"):
        facts["unit"] = spec.unit  # shown even when it is "1": the one fact that a table cannot tell
        facts["range"] = [int(v) if v.is_integer() else v for v in map(float, facts["range"])]
    lines = [f"{key}: {_text(value)}" for key, value in facts.items()]
    return "  - " + "\n    ".join(lines) + "\n"


def _text(value: object) -> str:
    """`value` as YAML on one line; text that YAML would read as something else is quoted."""
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
        .removesuffix("...\n")
        .strip()
    )


def _cohort(name: str, kind: str, path: str, found: Draft) -> str:
    renamed = {name: column for name, column in found.columns.items() if name != column}
    columns = "".join(f"  {name}: {_text(column)}\n" for name, column in renamed.items())
    return COHORT.format(
        title=_text(f"Cohort of {name}"),
        kind=kind,
        path=_text(path),
        columns=f"columns:\n{columns}" if columns else "",
        outcome=_text(found.outcome),
        subject=f"subject: {_text(found.subject)}\n"
        if found.subject
        else "# subject: the column that identifies the person\n",
        time=f"time: {_text(found.time)}\n"
        if found.time
        else "# time: the column of the event's time, a year or ISO 8601\n",
    )


def _release(name: str) -> dict[str, str]:
    suffix = name.replace("_", "-")
    return {
        "release.yaml": RELEASE.format(name=name),
        "kustomization.yaml": KUSTOMIZATION.format(name=name, suffix=suffix),
    }
