"""What was observed since the present stage began: one arm's requests, and the pairs of the shadow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medtower.errors import InvalidInput

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]
DAY = 86_400.0


@dataclass(frozen=True)
class Arm:
    """One row a request that came to `version`, in order of time.

    `subjects` [n] pseudonyms, `at` [n] seconds or datetime64, `failed` [n], `latency_ms` [n] (NaN where there is none), `prediction` [n] (NaN
    where failed), `outcome` [n] (NaN unknown). Raises InvalidInput unless all are [n] and in order.
    """

    version: int
    subjects: NDArray[np.str_]
    at: Floats | NDArray[np.datetime64]
    failed: Mask
    latency_ms: Floats
    prediction: Floats
    outcome: Floats

    def __post_init__(self) -> None:
        _same_length(
            "an arm", self.subjects, self.at, self.failed, self.latency_ms, self.prediction, self.outcome
        )
        if np.any(self.seconds[1:] < self.seconds[:-1]):
            raise InvalidInput("an arm's requests are not in order of time; sort them by event time")

    def __len__(self) -> int:
        return len(self.subjects)

    @cached_property
    def seconds(self) -> Floats:
        """`at` [n] in seconds."""
        if self.at.dtype.kind == "M":
            return self.at.astype("datetime64[us]").astype(np.float64) / 1e6
        return np.asarray(self.at, dtype=np.float64)

    @cached_property
    def _people(self) -> Rows:
        return _numbered(self.subjects)

    def first(self, of: Mask | None = None) -> Rows:
        """The row of each subject's first request among those in the mask `of` [n], in order of time.

        One value a patient makes independent observations, and the first one stays what it is at every later look; a patient's mean would
        change after it was counted, and a sequence of such values is not valid at every look.
        """
        return _first(self._people, of)

    @cached_property
    def answered(self) -> Mask:
        """Requests with a finite prediction."""
        return ~self.failed & np.isfinite(self.prediction)

    def days(self, start: float) -> list[Mask]:
        """A mask [n] for each day of 24 hours since `start` (seconds), the empty ones between included."""
        if not len(self):
            return []
        day = np.floor((self.seconds - start) / DAY).astype(np.int64)
        return [day == k for k in range(int(day[-1]) + 1)]


@dataclass(frozen=True)
class Pairs:
    """One row a request that both versions scored, in order of time: `current` [n], `candidate` [n] (NaN where it failed), `failed` [n] (the
    candidate), `latency_ms` [n] (the candidate's), `current_latency_ms` [n].

    `subjects` [n] are the pseudonyms; without them every request counts as another patient's, which is too sure when patients come again.
    """

    current: Floats
    candidate: Floats
    failed: Mask
    latency_ms: Floats
    current_latency_ms: Floats
    subjects: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        _same_length(
            "the pairs",
            self.current,
            self.candidate,
            self.failed,
            self.latency_ms,
            self.current_latency_ms,
            *([] if self.subjects is None else [self.subjects]),
        )

    def __len__(self) -> int:
        return len(self.current)

    @cached_property
    def _people(self) -> Rows:
        return np.arange(len(self)) if self.subjects is None else _numbered(self.subjects)

    def first(self, of: Mask | None = None) -> Rows:
        """As `Arm.first`."""
        return _first(self._people, of)

    @cached_property
    def answered(self) -> Mask:
        """Requests that both versions answered with a finite number."""
        return ~self.failed & np.isfinite(self.candidate) & np.isfinite(self.current)


def _numbered(subjects: NDArray[np.str_]) -> Rows:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(s, len(numbers)) for s in subjects.tolist()], dtype=np.intp)


def _first(people: Rows, of: Mask | None) -> Rows:
    rows = np.arange(len(people)) if of is None else np.flatnonzero(of)
    if not len(rows):
        return rows
    earliest = np.full(int(people.max()) + 1, -1)
    earliest[people[rows[::-1]]] = rows[::-1]  # written last to first, so the first one stays
    found: Rows = np.sort(earliest[earliest >= 0])
    return found


def _same_length(what: str, *columns: NDArray[np.generic]) -> None:
    if len({len(column) for column in columns}) != 1:
        raise InvalidInput(f"the columns of {what} differ in length; pass one value a request in each")
