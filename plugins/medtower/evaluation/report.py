"""The evaluation report of one version: the evidence that goes into its dossier."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike

from medtower.domain.contract import Contract
from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.estimate import Estimate, EvaluationReport
from medtower.evaluation.calibration import calibrate
from medtower.evaluation.holdout import Holdout
from medtower.evaluation.metrics import estimates


def evaluate(
    contract: Contract,
    y: ArrayLike,
    score: ArrayLike,
    populations: Mapping[str, ArrayLike],
    *,
    holdout_sha256: str,
    at: datetime,
    seed: int,
) -> EvaluationReport:
    """All KPIs overall and by population, with calibration for a classification; `notes` name what is not known, and the disclaimer.

    `y`, `score` and each mask are [n]; y NaN is an unknown outcome. Raises InvalidInput for outcomes and
    ModelMisbehaved for scores that cannot be evaluated.
    """
    holdout = Holdout.of(contract, y, score, populations)
    classification = contract.task == "classification"
    found = estimates(contract, y, score, populations, seed=seed)
    return EvaluationReport(
        model=contract.name,
        n=holdout.n,
        positives=holdout.positives if classification else None,
        estimates=found,
        calibration=calibrate(holdout.y, holdout.score) if classification else None,
        holdout_sha256=holdout_sha256,
        evaluated_at=at,
        notes=[*_notes(np.size(y) - holdout.n, found), DISCLAIMER],
    )


def _notes(unknown: int, found: list[Estimate]) -> list[str]:
    notes = [f"{unknown} rows have no known outcome and were left out"] if unknown else []
    notes += [f"{e.metric} on {e.population}: {e.method}" for e in found if not e.known]
    return notes
