"""The circuit breaker of a rollout's candidate: it takes patients away from a version, and never brings one back.

It opens at 3 failures in a row, or at 5 among the last 20 attempts. Only a failure at a case that the incumbent then answered counts: when
Triton is down as a whole, both fail, and that says nothing about the candidate. At a true failure rate of 1 % a candidate meets 3 in a row
about once in a million attempts and 5 in 20 about as rarely; one that always fails has cost three detours.

Open, it stays open for that release digest, also over a restart (the spool remembers it): within a rollout a share only ever falls by it. A
release that was mended has another digest.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from medtower.domain.routing import Arm

log = logging.getLogger(__name__)
IN_A_ROW = 3
AMONG, MOST = 20, 5
Key = tuple[str, int, str]


class Breakers:
    """One breaker for each (model, version, digest). `opened` are those that opened before this process began."""

    def __init__(self, opened: Iterable[Key] = ()) -> None:
        self._open = set(opened)
        self._failed: dict[Key, deque[bool]] = {}

    def is_open(self, model: str, candidate: Arm) -> bool:
        """Whether the candidate's patients belong to the incumbent for good."""
        return _key(model, candidate) in self._open

    def answered(self, model: str, candidate: Arm) -> None:
        """The candidate gave a usable answer."""
        self._attempts(model, candidate).append(False)

    def failed(self, model: str, candidate: Arm) -> bool:
        """The candidate failed at what its incumbent then answered. Whether the breaker opened with it."""
        attempts = self._attempts(model, candidate)
        attempts.append(True)
        in_a_row = len(attempts) >= IN_A_ROW and all(list(attempts)[-IN_A_ROW:])
        if self.is_open(model, candidate) or not (in_a_row or sum(attempts) >= MOST):
            return False
        self._open.add(_key(model, candidate))
        extra = {
            "model": model,
            "version": candidate.version,
            "digest": candidate.digest,
            "count": sum(attempts),
        }
        log.error("the circuit breaker opened: the incumbent takes the candidate's patients", extra=extra)
        return True

    def _attempts(self, model: str, candidate: Arm) -> deque[bool]:
        return self._failed.setdefault(_key(model, candidate), deque(maxlen=AMONG))


def _key(model: str, arm: Arm) -> Key:
    return model, arm.version, arm.digest
