"""One drifted window is noise often enough; an alarm needs several in a row."""

from __future__ import annotations

from collections.abc import Sequence

from medtower.domain.drift import Severity


def alarm(history: Sequence[Severity], persistence: int) -> bool:
    """Return True when the newest `persistence` windows of one feature all drifted. `history` has the newest last.

    Its windows must not overlap: those that share patients repeat the same noise, however many they are. Windows with insufficient data know
    nothing: they are passed over, and neither start, confirm nor clear an alarm. Raises ValueError when `persistence` is below 1.
    """
    if persistence < 1:
        raise ValueError("persistence counts windows and is at least 1")
    known = [s for s in history if s is not Severity.INSUFFICIENT]
    newest = known[-persistence:]
    return len(newest) == persistence and all(s.alarming for s in newest)
