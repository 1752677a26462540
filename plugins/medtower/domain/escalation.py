"""An answer that somebody must hear of at once, on its way to the webhook that its contract names."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from medtower.domain.contract import Contract
from medtower.domain.disclaimer import DISCLAIMER
from medtower.domain.prediction import Prediction


class Escalation(BaseModel):
    """What the webhook is told: which answer it was, by which release, about which pseudonym, and when. No feature, no text and no number of the answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    model: str
    version: int
    digest: str
    subject: str
    received_at: datetime
    webhook: str

    def body(self) -> bytes:
        """The JSON that is sent."""
        return (
            self.Body(**self.model_dump(exclude={"webhook", "received_at"}), time=self.received_at)
            .model_dump_json()
            .encode()
        )

    class Body(BaseModel):
        request_id: str
        model: str
        version: int
        digest: str
        subject: str
        time: datetime
        disclaimer: str = DISCLAIMER


def due(contract: Contract, prediction: Prediction) -> Escalation | None:
    """The escalation that `prediction` asks for by `contract`; None when it is no emergency."""
    emergency = contract.emergency
    if emergency is None or prediction.prediction < emergency.at_or_above:
        return None
    return Escalation(
        request_id=prediction.request_id,
        model=prediction.model,
        version=prediction.version,
        digest=prediction.digest,
        subject=prediction.subject,
        received_at=prediction.received_at,
        webhook=emergency.webhook,
    )
