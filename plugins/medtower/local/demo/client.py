"""A client of the gateway that never stops asking: it counts what failed and notes which version answered when."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from medtower.domain.contract import Contract
from medtower.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answer:
    """One request: when its answer came (monotonic seconds), HTTP status, version, request id and the row of the patient."""

    at: float
    status: int
    version: int | None
    request_id: str
    row: int


class Client(threading.Thread):
    """Asks for one model at `rate` requests/s, patient after patient, until `stop`."""

    def __init__(
        self, chosen: Settings, contract: Contract, patients: pd.DataFrame, *, rate: float = 40
    ) -> None:
        super().__init__(daemon=True)
        self._contract, self._patients, self._rate = contract, patients, rate
        self._rows = [
            dict(zip(contract.input_names, values, strict=True))
            for values in patients[contract.input_names].values.tolist()
        ]
        self._http = httpx.Client(
            base_url=chosen.gateway_url,
            headers={"X-API-Key": chosen.gateway_key.get_secret_value()},
            timeout=10,
            trust_env=False,
        )
        self._stopping = threading.Event()
        self.answers: list[Answer] = []

    def run(self) -> None:
        row = 0
        while not self._stopping.wait(1 / self._rate):
            self.answers.append(self._ask(row % len(self._patients)))
            row += 1

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def _ask(self, row: int) -> Answer:
        request_id = str(uuid.uuid4())
        body = {
            "request_id": request_id,
            "subject_id": str(self._patients["subject_id"].iloc[row]),
            "features": named(self._contract, self._rows[row]),
        }
        try:
            response = self._http.post(f"/api/v1/ml/predict/{self._contract.name}", json=body)
        except httpx.HTTPError:
            return Answer(time.monotonic(), 0, None, request_id, row)
        version = response.json().get("version") if response.status_code == 200 else None
        return Answer(time.monotonic(), response.status_code, version, request_id, row)

    @property
    def failed(self) -> int:
        return sum(a.status != 200 for a in self.answers)

    def first_after(self, moment: float, version: int) -> Answer | None:
        """The first answer by `version` after `moment` (monotonic seconds)."""
        return next((a for a in self.answers if a.at > moment and a.version == version), None)

    def report_outcomes(self, version: int) -> int:
        """Tell the gateway the ground truth of everybody that `version` answered for; return how many."""
        truth = self._patients["outcome"].to_numpy()
        told = [
            {
                "request_id": a.request_id,
                "model": self._contract.name,
                "value": float(truth[a.row]),
                "observed_at": datetime.now(UTC).isoformat(),
            }
            for a in self.answers
            if a.version == version and not np.isnan(truth[a.row])
        ]
        self._http.post("/api/v1/ml/outcomes", json=told).raise_for_status()
        return len(told)


def named(contract: Contract, patient: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a cohort as the named features of a request; what is missing is left out."""
    features: dict[str, Any] = {}
    for spec in contract.inputs:
        value = patient[spec.name]
        if value is None or (isinstance(value, float) and np.isnan(value)):
            continue
        plain = value.item() if hasattr(value, "item") else value
        features[spec.name] = int(plain) if spec.dtype == "integer" else plain
    return features
