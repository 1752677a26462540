"""What of a text and of a sequence is tested for drift."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.drift.conftest import GAP, Floats, contract_of, report

from medtower.domain.text_hashing import hashed
from medtower.drift import evidently_report
from medtower.drift.features import features, summarised
from medtower.errors import InvalidInput

CONTRACT = contract_of(
    [
        {"name": "note", "dtype": "text", "max_length": 200, "buckets": 32, **GAP},
        {"name": "smoker", "dtype": "boolean"},
        {"name": "trace", "dtype": "sequence", "range": [0, 100], "length": [2, 6], **GAP},
    ]
)
USUAL = ["fever", "cough", "pain", "nausea", "headache", "fatigue"]
OTHER = ["fracture", "fall", "wound", "hip", "cast", "bleeding"]


def window(n: int, seed: int, *, words: list[str] = USUAL, level: float = 50.0, most: int = 6) -> Floats:
    draw = np.random.default_rng(seed)
    rows = np.full((n, CONTRACT.width), np.nan)
    for row in rows:
        row[:32] = hashed(" ".join(draw.choice(words, 5)), 32)
        row[32] = draw.random() < 0.3
        length = draw.integers(2, most + 1)
        row[33 : 33 + length] = draw.normal(level, 10, length)
    rows[draw.random(n) < 0.1, :32] = np.nan
    return rows


def test_a_text_and_a_sequence_are_summed_up_and_not_tested_column_by_column() -> None:
    assert [f.name for f in features(CONTRACT)] == [
        "note.terms", "note.similarity", "smoker", "trace.length", "trace.mean", "trace.spread"
    ]  # fmt: skip


def test_the_summaries_are_what_they_say() -> None:
    note, same = hashed("no fever", 32), hashed("no fever", 32)
    rows = np.array(
        [[*note, 0, 1, 3, *[np.nan] * 4], [*same, 1, *[np.nan] * 6], [*[np.nan] * 32, 1, *[5.0] * 6]]
    )
    reference, current = summarised(CONTRACT, rows, rows)
    np.testing.assert_allclose(reference[:, 0], [3, 3, np.nan])
    np.testing.assert_allclose(reference[:, 1], [1, 1, np.nan])
    np.testing.assert_allclose(reference[:, 3:], [[2, 2, 1], [np.nan] * 3, [6, 5, 0]])
    np.testing.assert_allclose(current, reference)


def test_the_same_patients_do_not_drift() -> None:
    found = report(CONTRACT, window(800, 1), window(800, 2))
    assert [f.feature for f in found.drifted] == []


@pytest.mark.parametrize(
    ("changed", "feature"),
    [({"words": OTHER}, "note.similarity"), ({"level": 65.0}, "trace.mean"), ({"most": 3}, "trace.length")],
)
def test_another_topic_another_level_and_another_length_are_found(
    changed: dict[str, object], feature: str
) -> None:
    found = report(CONTRACT, window(800, 1), window(800, 2, **changed))  # type: ignore[arg-type]
    assert feature in [f.feature for f in found.drifted]


def test_a_small_reference_is_not_like_itself_because_it_is_made_of_itself() -> None:
    draw = np.random.default_rng(4)

    def noise(n: int) -> Floats:
        rows = window(n, 5)
        rows[:, :32] = [hashed(f"a{draw.integers(10**9)} b{draw.integers(10**9)}", 32) for _ in range(n)]
        return rows

    before, now = summarised(CONTRACT, noise(60), noise(3000))
    assert abs(before[:, 1].mean() - now[:, 1].mean()) < 0.08


def test_people_see_the_summaries_too(tmp_path: Path) -> None:
    evidently_report.write(CONTRACT, window(100, 1), window(100, 2), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "note.similarity" in page
    assert "trace.mean" in page


def test_a_window_of_another_width_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"give \[n, 39\]"):
        summarised(CONTRACT, np.zeros((3, 3)), window(3, 1))
