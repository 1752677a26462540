"""Replay a cohort as past traffic: real inferences by the version that serves, with historic times and labels that arrive late."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from medtower.domain.cohort import CohortSpec
from medtower.domain.contract import Contract
from medtower.domain.inference import confidence
from medtower.domain.prediction import Outcome, Prediction
from medtower.serving.pseudonym import pseudonym
from medtower.workflows.tower import Model, Tower

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

NAMESPACE = uuid.UUID("6d656474-6f77-4572-8000-7265706c6179")


def replay(
    tower: Tower,
    name: str,
    *,
    days: int = 90,
    until: datetime | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, int]:
    """Replay `days` calendar days (UTC) up to `until` (default: now) through the version that serves; write predictions and outcomes to Postgres.

    What would have happened after `until` is left out. Ids and times are made from model, last day, day and row, so that a second replay that
    ends on the same day adds only what has happened since. Returns {predictions, outcomes}. Safe to run again after a kill.
    """
    end = until or datetime.now(UTC)
    today = end.replace(hour=0, minute=0, second=0, microsecond=0)
    counts = {"predictions": 0, "outcomes": 0}
    with tower.model(name) as model:
        frames = daily(model, days)
        for day, frame in enumerate(frames):
            start = today - timedelta(days=days - 1 - day)
            made = predict(tower, model, frame, start, name_of_day=f"{today:%Y-%m-%d}/{start:%Y-%m-%d}")
            predictions = [p for p in made if p.event_time <= end]
            counts["predictions"] += tower.predictions.write(predictions)
            truth = labels(model.contract, model.cohort, frame, predictions, known_by=end)
            counts["outcomes"] += tower.predictions.write(truth)
            progress(day + 1)
    return counts


def daily(model: Model, days: int) -> list[pd.DataFrame]:
    """One frame of patients a day; the last `shift_last_days` are today's, shifted patients."""
    from medtower.cohorts.load import arrivals, today

    plan = model.cohort.rehearsal
    shifted = min(plan.shift_last_days, days)
    usual = arrivals(model.contract, model.cohort, model.folder, n=plan.per_day * (days - shifted), seed=1)
    frames = _slices(usual, plan.per_day)
    if shifted:
        frames += _slices(
            today(model.contract, model.cohort, model.folder, n=plan.per_day * shifted, seed=2), plan.per_day
        )
    return frames


def _slices(frame: pd.DataFrame, size: int) -> list[pd.DataFrame]:
    return [frame.iloc[i : i + size].reset_index(drop=True) for i in range(0, len(frame), size)]


def predict(
    tower: Tower, model: Model, frame: pd.DataFrame, start: datetime, *, name_of_day: str
) -> list[Prediction]:
    """Ask Triton for the whole frame and make a record a row, spread over the 24 hours after `start`."""
    from medtower.cohorts.encode import encode

    version, digest = model.release.version, model.release.digest
    if version is None or digest is None:
        return []
    features = encode(frame, model.contract)
    rows = [[None if np.isnan(v) else float(v) for v in row] for row in features]
    asked = time.perf_counter()
    scores = tower.triton.infer(model.contract.name, version, rows)
    milliseconds = (time.perf_counter() - asked) * 1000  # every row waited for the whole batch
    key = tower.settings.subject_key.get_secret_value().encode()
    moments = [start + timedelta(seconds=86400 * (i + 0.5) / len(rows)) for i in range(len(rows))]
    return [
        Prediction(
            request_id=str(uuid.uuid5(NAMESPACE, f"{model.contract.name}/{name_of_day}/{i}")),
            model=model.contract.name,
            version=version,
            digest=digest,
            arm="replay",
            subject=pseudonym(key, str(frame["subject_id"][i])),
            event_time=moments[i],
            received_at=moments[i],
            features=rows[i],
            prediction=scores[i],
            confidence=confidence(model.contract, scores[i]),
            requires_human_review=confidence(model.contract, scores[i])
            < model.contract.output.confidence_floor,
            latency_ms=milliseconds,
        )
        for i in range(len(rows))
    ]


def labels(
    contract: Contract,
    cohort: CohortSpec,
    frame: pd.DataFrame,
    predictions: list[Prediction],
    *,
    known_by: datetime,
) -> list[Outcome]:
    """The ground truth that had arrived by `known_by`: each `label_delay_days` (plus up to half of it) late, some never."""
    plan = cohort.rehearsal
    generator = np.random.default_rng(
        [
            cohort.rehearsal.per_day,
            len(frame),
            int(predictions[0].event_time.timestamp()) if predictions else 0,
        ]
    )
    late: NDArray[np.float64] = plan.label_delay_days * (1 + 0.5 * generator.uniform(size=len(frame)))
    labelled = generator.uniform(size=len(frame)) < plan.label_rate
    found = []
    for i, prediction in enumerate(predictions):
        value, arrival = float(frame["outcome"][i]), prediction.event_time + timedelta(days=float(late[i]))
        if labelled[i] and not np.isnan(value) and arrival <= known_by:
            found.append(
                Outcome(
                    request_id=prediction.request_id,
                    model=contract.name,
                    value=value,
                    observed_at=prediction.event_time,
                    arrived_at=arrival,
                    source="replay",
                )
            )
    return found
