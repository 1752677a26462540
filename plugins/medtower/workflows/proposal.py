"""From a trained version in MLflow to a proposal people can review: gather the evidence, write the two pages, open the branch."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path

from medtower.adapters import contracts
from medtower.domain.estimate import EvaluationReport, Status
from medtower.domain.metric import METRICS
from medtower.domain.verdict import Verdict
from medtower.errors import Conflict, NotFound
from medtower.evaluation.kpi import status
from medtower.releases import strategy
from medtower.releases.dossier import Provenance
from medtower.reports.render import render
from medtower.workflows import pull_request
from medtower.workflows.propose import propose
from medtower.workflows.tower import Model, Tower

SIGNED = ("evaluation.json", "gates.json", "model.yaml")
PAGES = ("approval.md", "model_card.md")


def open_proposal(tower: Tower, name: str, version: int, *, reason: str = "", emergency: bool = False) -> str:
    """Open (or find) the branch that proposes `version` of `name` with its pull request, and return the branch's name.

    An `emergency` fix serves everybody at once. Raises NotFound (no such version), GateFailed, Conflict, Unavailable. Nothing serves
    because of this; asking again brings the pull request up to date.
    """
    with pull_request.synchronised(tower, name, version):
        branch = _open_branch(tower, name, version, reason, emergency)
    pull_request.open_pull_request(tower, name, version)
    return branch


def _open_branch(tower: Tower, name: str, version: int, reason: str, emergency: bool) -> str:
    registered = tower.registry.version(name, version)
    with tower.model(name) as model, tempfile.TemporaryDirectory(prefix="medtower-propose-") as place:
        folder = Path(place) / name
        for file in (*SIGNED, "training.json"):
            tower.registry.fetch_file(registered.run_id, file, folder)
        tower.registry.fetch_weights(registered.uri, folder)
        training = json.loads((folder / "training.json").read_text())
        if training["champion"] != model.release.version:
            raise Conflict(
                f"{name} {version} was compared with version {training['champion'] or 'none'}, but "
                f"{model.release.version or 'none'} is released now; train again, so that the gates compare with what it replaces"
            )
        provenance = Provenance(
            mlflow_run=registered.run_id,
            label=f"1.{version - 1}.0",
            training_data_sha256=training["sha256"],
            code_commit=training["code_commit"],
            dependencies=training["dependencies"],
            reason=reason or training["reason"],
            created_at=datetime.fromisoformat(training["created_at"]),
        )
        told = facts(model, version, folder) | {"training": training, "provenance": provenance}
        plan, why = strategy.decide(
            contracts.read(folder),
            replaces=model.release.version,
            emergency=emergency,
            doubts=doubts(folder),
        )
        told |= {"plan": plan, "why_plan": why}
        return propose(
            tower.repository,
            contract=contracts.read(folder),
            version=version,
            weights=folder / "model.onnx",
            evidence={file: (folder / file).read_bytes() for file in SIGNED},
            pages={page: render(f"{page}.j2", **told).encode() for page in PAGES},
            provenance=provenance,
            plan=plan,
            required=tower.settings.approval_roles,
        )


def doubts(folder: Path) -> list[str]:
    """What the evidence leaves open, a clause each: KPIs that are not well within their bounds."""
    contract = contracts.read(folder)
    report = EvaluationReport.model_validate_json((folder / "evaluation.json").read_text())
    found = []
    for estimate in report.estimates:
        kpi = contract.kpis.get(estimate.metric)
        if kpi is None or estimate.population != "all":
            continue
        judged = status(estimate, kpi, METRICS[estimate.metric])
        if judged is not Status.OK:
            found.append(f"{estimate.metric} is {judged}")
    return found


def facts(model: Model, version: int, folder: Path) -> dict[str, object]:
    """What the approval page and the model card tell: the candidate's evaluation and gates beside the champion's evaluation."""
    return {
        "contract": contracts.read(folder),
        "cohort": model.cohort,
        "version": version,
        "replaces": model.release.version,
        "evaluation": EvaluationReport.model_validate_json((folder / "evaluation.json").read_text()),
        "champion": champion_evaluation(model),
        "gates": [Verdict.model_validate(v) for v in json.loads((folder / "gates.json").read_text())],
    }


def champion_evaluation(model: Model) -> EvaluationReport | None:
    """The evaluation that the serving version was released with; None when nothing serves."""
    if model.release.version is None:
        return None
    path = model.folder / "dossiers" / str(model.release.version) / "evaluation.json"
    if not path.exists():
        raise NotFound(path.name, str(path.parent.name))
    return EvaluationReport.model_validate_json(path.read_text())
