"""The circuit breaker before a version that answers patients (Nygard, Release It!, 2nd edition, section 5.2): while Triton does not answer for it, callers are
told at once instead of after the deadline, and Triton is left alone but for one trial a second.

That of a rollout's candidate (breaker.py) is another one: it never closes again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from medtower.errors import Unavailable

log = logging.getLogger(__name__)
IN_A_ROW = 5
REST = 1.0
Key = tuple[str, int, str]


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    trial_at: float | None = None


class Circuits:
    """One for each (model, version, digest). `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._troubled: dict[Key, _Circuit] = {}

    def enter(self, key: Key) -> None:
        """Let one request through, or raise Unavailable. After a rest the next one is let through as a trial, and the others wait for its end."""
        circuit = self._troubled.get(key)
        if circuit is None or circuit.trial_at is None:
            return
        now = self._clock()
        if now < circuit.trial_at:
            model, version, _ = key
            raise Unavailable(
                f"{model} {version}",
                f"Triton failed to answer {circuit.failures} times in a row; one request a second tries again",
            )
        circuit.trial_at = now + REST

    def answered(self, key: Key) -> None:
        """Triton gave a usable answer."""
        circuit = self._troubled.pop(key, None)
        if circuit and circuit.trial_at is not None:
            log.warning("the circuit closed: the version answers again", extra=_named(key))

    def failed(self, key: Key) -> None:
        """Triton did not answer, or said that it cannot."""
        circuit = self._troubled.setdefault(key, _Circuit())
        circuit.failures += 1
        if circuit.failures < IN_A_ROW:
            return
        if circuit.trial_at is None:
            log.error("the circuit opened: callers are told at once", extra=_named(key))
        circuit.trial_at = self._clock() + REST

    def open(self) -> list[Key]:
        """Those that let nothing through but a trial."""
        return [key for key, circuit in self._troubled.items() if circuit.trial_at is not None]


def _named(key: Key) -> dict[str, object]:
    model, version, digest = key
    return {"model": model, "version": version, "digest": digest}
