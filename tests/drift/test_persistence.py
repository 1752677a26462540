"""When drift becomes an alarm."""

from __future__ import annotations

import pytest

from medtower.domain.drift import Severity
from medtower.drift.persistence import alarm

N, M, S, V, I = (Severity(v) for v in ("none", "moderate", "severe", "no variance", "insufficient data"))  # noqa: E741


@pytest.mark.parametrize(
    ("history", "persistence", "expected"),
    [
        ([], 1, False),
        ([M], 1, True),
        ([N], 1, False),
        ([M], 2, False),
        ([M, S], 2, True),
        ([S, N, S], 2, False),
        ([N, S, M, S], 3, True),
        ([S, S, N], 2, False),
        ([S, V, S], 2, False),
        ([S, I, I, S], 2, True),
        ([S, S, I], 2, True),
        ([I, I], 1, False),
        ([N, S, I], 2, False),
    ],
)
def test_an_alarm_needs_as_many_drifted_windows_in_a_row_as_the_contract_says(
    history: list[Severity], persistence: int, expected: bool
) -> None:
    assert alarm(history, persistence) is expected


def test_persistence_counts_from_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        alarm([S], 0)
