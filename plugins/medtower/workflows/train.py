"""Train one version: data, fit, export, parity, evaluation, gates, registration. Nothing serves because of this."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medtower.adapters.mlflow import TRIGGER, RegisteredVersion
from medtower.domain.estimate import EvaluationReport
from medtower.domain.verdict import Decision, Verdict, overall
from medtower.workflows import provenance
from medtower.workflows.dataset import Dataset, from_cohort, from_record
from medtower.workflows.score import score
from medtower.workflows.tower import Model, Tower

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)
REFERENCE_ROWS = 5000


@dataclass(frozen=True)
class Trained:
    """What came out: the registered version, its evaluation, and the verdict of every gate."""

    model: str
    version: int
    run_id: str
    evaluation: EvaluationReport
    gates: list[Verdict]

    @property
    def passed(self) -> bool:
        return overall(self.gates) is Decision.PROMOTE


def train(
    tower: Tower,
    name: str,
    *,
    reason: str,
    window_days: int | None = None,
    trigger: str | None = None,
    until: datetime | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train a version of `name` and register it in MLflow with its evidence.

    `window_days` trains on the record of that many days before `until` (default: now); without it the contract's cohort is used.
    `trigger` makes it safe to run twice: the version that the same trigger made is returned. Raises CohortInvalid, ContractInvalid,
    ModelMisbehaved (parity lost) and Unavailable; a version whose gates fail is registered too, as evidence, and says so.
    """
    with tower.model(name) as model, tempfile.TemporaryDirectory(prefix="medtower-train-") as place:
        if trigger and (made := tower.registry.made_by(name, trigger)):
            return _again(tower, made, Path(place))
        progress("data")
        data = _data(tower, model, window_days, until or datetime.now(UTC))
        folder = Path(place)
        trained = _fit(tower, model, data, folder, progress)
        training = {
            "source": data.source,
            "rows": len(data.y),
            "sha256": data.sha256,
            "reason": reason,
            "champion": model.release.version,
            "expectations": data.expectations,
            "parity": trained.parity,
            "seed": model.contract.training.seed,
            "trainer": model.contract.training.trainer,
            **provenance.now(),
        }
        (folder / "training.json").write_text(json.dumps(training, indent=2))
        (folder / "evaluation.json").write_text(trained.evaluation.model_dump_json(indent=2))
        (folder / "gates.json").write_text(
            json.dumps([v.model_dump(mode="json") for v in trained.gates], indent=2)
        )
        (folder / "model.yaml").write_bytes((model.folder / "model.yaml").read_bytes())
        progress("registration")
        known = {
            e.metric: e.value
            for e in trained.evaluation.estimates
            if e.population == "all" and e.value is not None
        }
        registered = tower.registry.log_version(
            name,
            onnx=folder / "model.onnx",
            files={p.name: p for p in sorted(folder.glob("*")) if p.name != "model.onnx"},
            parameters={
                "trainer": model.contract.training.trainer,
                "rows": len(data.y),
                **model.contract.training.options,
            },
            metrics=known,
            tags={
                "medtower.reason": reason,
                "medtower.data": data.sha256,
                **({TRIGGER: trigger} if trigger else {}),
            },
            key=tower.settings.path("weights_key"),
        )
        log.info("trained", extra={"model": name, "version": registered.version, "run_id": registered.run_id})
        return Trained(name, registered.version, registered.run_id, trained.evaluation, trained.gates)


def _again(tower: Tower, made: RegisteredVersion, folder: Path) -> Trained:
    """What an earlier run made of the same trigger, as it was registered: the data may have moved on since."""

    def kept(name: str) -> str:
        return tower.registry.fetch_file(made.run_id, name, folder).read_text()

    evaluation = EvaluationReport.model_validate_json(kept("evaluation.json"))
    gates = [Verdict.model_validate(v) for v in json.loads(kept("gates.json"))]
    return Trained(made.model, made.version, made.run_id, evaluation, gates)


def _data(tower: Tower, model: Model, window_days: int | None, until: datetime) -> Dataset:
    if window_days is None:
        return from_cohort(model.contract, model.cohort, model.folder)
    return from_record(model.contract, tower.predictions, until=until, window_days=window_days)


@dataclass(frozen=True)
class _Fitted:
    evaluation: EvaluationReport
    gates: list[Verdict]
    parity: float


def _fit(tower: Tower, model: Model, data: Dataset, folder: Path, progress: Callable[[str], None]) -> _Fitted:
    import numpy as np

    from medtower.evaluation import gates
    from medtower.evaluation.report import evaluate
    from medtower.serving import golden
    from medtower.training import export
    from medtower.training.fit import fit

    contract = model.contract
    training, holdout = data.split(contract.training.holdout, contract.training.seed)
    progress("fit")
    module = fit(contract, training.x, training.y, seed=contract.training.seed)
    progress("export")
    network = folder / "model.onnx"
    export.export(module, contract.width, network)
    export.inspect(network)
    parity = export.parity(module, network, holdout.x[:1000], contract.gates.parity_tolerance)
    progress("evaluation")
    scores, seed = score(network, holdout.x), contract.training.seed
    evaluation = evaluate(
        contract,
        holdout.y,
        scores,
        holdout.populations,
        holdout_sha256=hashlib.sha256(holdout.x.tobytes() + holdout.y.tobytes()).hexdigest(),
        at=datetime.now(UTC),
        seed=seed,
    )
    progress("gates")
    edge = np.array(golden.rows(contract, 64), dtype=np.float32)
    verdicts = gates.run(
        contract,
        holdout.y,
        scores,
        _champion(tower, model, holdout),
        holdout.populations,
        train=(training.y, score(network, training.x)),
        edge_scores=score(network, edge),
        seed=seed,
    )
    _reference(folder, training, score(network, training.x))
    return _Fitted(evaluation, verdicts, parity)


def _champion(tower: Tower, model: Model, holdout: Dataset) -> NDArray[np.float64] | None:
    """The scores of the version that git says serves, on the same holdout; None when nothing serves yet."""
    if model.release.version is None:
        return None
    with tempfile.TemporaryDirectory(prefix="medtower-champion-") as place:
        uri = f"models:/{model.contract.name}/{model.release.version}"
        return score(tower.registry.fetch_weights(uri, Path(place)), holdout.x)


def _reference(folder: Path, training: Dataset, scores: NDArray[np.float64]) -> None:
    """Keep what the network saw and said in training: the reference that drift is measured against (encoded rows, no person's id)."""
    import numpy as np

    step = max(1, len(scores) // REFERENCE_ROWS)
    np.savez_compressed(folder / "reference.npz", features=training.x[::step], prediction=scores[::step])
