"""Rows to train and test on, from a cohort or from the record of what was predicted and what came true."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medtower.adapters.postgres.predictions import PredictionStore
from medtower.domain.cohort import CohortSpec
from medtower.domain.contract import Contract
from medtower.errors import CohortInvalid

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Dataset:
    """`x` [n, inputs] float32 with NaN for missing, `y` [n] float64 without NaN, `subject` [n], masks [n] by population."""

    source: str
    x: NDArray[np.float32]
    y: NDArray[np.float64]
    subject: list[str]
    populations: dict[str, NDArray[np.bool_]]
    sha256: str
    expectations: list[dict[str, Any]]

    def take(self, mask: NDArray[np.bool_]) -> Dataset:
        """The rows where `mask` [n] is true."""
        return Dataset(
            self.source,
            self.x[mask],
            self.y[mask],
            [s for s, kept in zip(self.subject, mask, strict=True) if kept],
            {name: values[mask] for name, values in self.populations.items()},
            self.sha256,
            self.expectations,
        )

    def split(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """Train and holdout parts. By person, not by row: nobody is in both, and the same seed puts a person in the same part again."""
        held = np.array([_fraction(seed, subject) < share for subject in self.subject])
        return self.take(~held), self.take(held)


def _fraction(seed: int, subject: str) -> float:
    digest = hashlib.sha256(f"{seed}/{subject}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def from_cohort(contract: Contract, spec: CohortSpec, folder: Path) -> Dataset:
    """The validated cohort of `cohort.yaml`; rows with an unknown outcome are left out. Raises CohortInvalid."""
    from medtower.cohorts.expectations import validate
    from medtower.cohorts.load import load

    frame = load(contract, spec, folder)
    return _dataset(spec.title, frame, contract, validate(frame, contract))


def from_record(contract: Contract, store: PredictionStore, *, until: datetime, window_days: int) -> Dataset:
    """The predictions of the last `window_days` whose ground truth is known as of `until`, whatever version answered.

    Raises CohortInvalid when fewer than the contract's `retraining.min_labelled` rows are labelled.
    """
    from medtower.cohorts.encode import decode
    from medtower.cohorts.expectations import validate

    start = until - timedelta(days=window_days)
    rows = store.labelled(contract.name, None, start, until, until)
    frame = decode(rows["features"], contract)
    frame["subject_id"], frame["event_time"], frame["outcome"] = (
        rows["subject"],
        rows["event_time"],
        rows["outcome"],
    )
    labelled = int(frame["outcome"].notna().sum())
    source = f"the record of {contract.name}, {start:%Y-%m-%d} to {until:%Y-%m-%d}"
    if labelled < contract.retraining.min_labelled:
        raise CohortInvalid(
            source,
            [
                f"{labelled} labelled rows, the contract wants {contract.retraining.min_labelled}; wait for labels or widen the window"
            ],
        )
    return _dataset(source, frame, contract, validate(frame, contract))


def _dataset(source: str, frame: Any, contract: Contract, expectations: list[dict[str, Any]]) -> Dataset:
    from medtower.cohorts.encode import encode, fingerprint, populations

    frame = frame[frame["outcome"].notna()].reset_index(drop=True)
    return Dataset(
        source,
        encode(frame, contract),
        frame["outcome"].to_numpy(dtype=np.float64),
        frame["subject_id"].astype(str).tolist(),
        populations(frame, contract),
        fingerprint(frame),
        expectations,
    )
