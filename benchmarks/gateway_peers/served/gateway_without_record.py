"""The gateway's process as the benchmark runs it for comparison: nothing is kept. This wiring is no setting of the product."""

from __future__ import annotations

from typing import Any

from medtower.domain.prediction import Prediction
from medtower.gateway import parts, serve
from medtower.gateway.recording.record import Record


class Unrecorded(Record):
    """A record that says at once that everything is kept."""

    async def keep(self, *_: Any) -> None:
        return None

    async def keep_unrepeatable(self, prediction: Prediction) -> None:
        """Kept nowhere."""


if __name__ == "__main__":
    parts.Record = Unrecorded  # type: ignore[attr-defined]
    serve.main()
