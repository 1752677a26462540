"""The verbs of a model before its release and of its record after it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtower.cli.verb import Model, err, out, this_tower, verb
from medtower.domain.tree import MODELS


@verb
def new_model(
    name: Model,
    task: Annotated[str, typer.Option(help="classification or regression")] = "classification",
    table: Annotated[Path | None, typer.Option(help="A CSV or Parquet file to infer the inputs from")] = None,
    models: Annotated[Path, typer.Option(help="The folder of all models")] = Path(MODELS),
) -> None:
    """Make triton_models/NAME with a commented contract and cohort.

    Example: medtower new-model kidney_risk --table cohort.csv
    """
    from medtower.workflows.new_model import scaffold

    folder = scaffold(models, name, task, table)
    out.print(f"wrote {folder}/model.yaml and cohort.yaml; read them, then: medtower check-contract {folder}")


@verb
def check_contract(folder: Annotated[Path, typer.Argument(help="A model's folder")]) -> None:
    """Check model.yaml and cohort.yaml, with file and line of what is wrong and what to write instead.

    Example: medtower check-contract triton_models/als_risk
    """
    from medtower.adapters import contracts

    contract = contracts.read(folder)
    contracts.read_cohort(folder)
    out.print(
        f"{contract.name}: {len(contract.inputs)} inputs, {len(contract.kpis)} KPIs, {len(contract.approvals)} approvals needed"
    )


@verb
def add_model(folder: Annotated[Path, typer.Argument(help="A model's folder")]) -> None:
    """Bring a model's contract and cohort to the tower, or changes of them. What serves does not change.

    Example: medtower add-model triton_models/kidney_risk
    """
    from medtower.workflows.add_model import add_model

    commit = add_model(this_tower().repository, folder)
    out.print(f"{folder.name}: on main with {commit}" if commit else f"{folder.name}: main has it already")


@verb
def schema(
    check: Annotated[bool, typer.Option(help="Only say whether the exported files are up to date")] = False,
    folder: Annotated[Path, typer.Option(help="Where the schemas lie")] = Path("docs/schemas"),
) -> None:
    """Export the JSON Schemas of model.yaml and cohort.yaml for editors.

    Example: medtower schema --check
    """
    import json

    from medtower.adapters.contracts import json_schemas

    for name, document in json_schemas().items():
        path, text = folder / f"{name}.schema.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            err.print(f"{path} is out of date; run: medtower schema")
            raise typer.Exit(1)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@verb
def train(
    model: Model,
    window_days: Annotated[
        int, typer.Option(help="Train on that many days of the record instead of the cohort")
    ] = 0,
    reason: Annotated[str, typer.Option(help="Why; it stands in the release")] = "trained by hand",
) -> None:
    """Train a version, run its gates and register it in MLflow. Nothing serves because of this.

    Example: medtower train als_risk --reason "first version"
    """
    from medtower.workflows.train import train

    with err.status(f"training {model}") as status:
        trained = train(
            this_tower(),
            model,
            reason=reason,
            window_days=window_days or None,
            progress=lambda step: status.update(f"training {model}: {step}"),
        )
    for verdict in trained.gates:
        out.print(f"  {verdict}", markup=False)
    out.print(
        f"{model} {trained.version} registered"
        + ("" if trained.passed else "; its gates failed, it cannot be proposed")
    )


@verb
def track(model: Model) -> None:
    """Compare predictions with the ground truth known today, and judge them by the contract.

    Example: medtower track als_risk
    """
    from medtower.workflows.track import track

    out.print_json(data=track(model, this_tower()))


@verb
def drift(model: Model) -> None:
    """Test the last window of inputs and answers against training.

    Example: medtower drift als_risk
    """
    from medtower.workflows.detect import detect

    out.print_json(data=detect(model, this_tower()))
