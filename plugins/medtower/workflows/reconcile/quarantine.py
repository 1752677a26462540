"""A version that misbehaved is not tried again at every pass: loading it costs seconds of two cores that serve patients."""

from __future__ import annotations

import time
from dataclasses import dataclass

from medtower.errors import MedtowerError, ModelMisbehaved
from medtower.workflows.reconcile.desired import Desired

FIRST_SECONDS, LONGEST_SECONDS = 20.0, 600.0


@dataclass(frozen=True)
class _Held:
    error: ModelMisbehaved
    until: float
    seconds: float


class Quarantine:
    """Holds (model, digest) back after each failure, twice as long every time. Forgotten with the process: a restart tries again."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], _Held] = {}

    def holds(self, desired: Desired) -> ModelMisbehaved | None:
        """The failure for which this release is held back now; None when it may be tried."""
        held = self._held.get(_key(desired))
        return held.error if held and time.monotonic() < held.until else None

    def failed(self, desired: Desired, error: MedtowerError) -> None:
        """Only misbehaviour counts: a part that was down, or an approval that was missing, may be right a second later."""
        if isinstance(error, ModelMisbehaved):
            before = self._held.get(_key(desired))
            seconds = min(before.seconds * 2, LONGEST_SECONDS) if before else FIRST_SECONDS
            self._held[_key(desired)] = _Held(error, time.monotonic() + seconds, seconds)

    def passed(self, desired: Desired) -> None:
        self._held.pop(_key(desired), None)


def _key(desired: Desired) -> tuple[str, str]:
    return desired.model, str(desired.release.digest if desired.release else None)
