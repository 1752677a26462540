"""Replaying a cohort: what a record of it says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from tests.fixtures.one_model import NAME, OneModel
from tests.fixtures.postgres import Cluster

from medtower.workflows import replay

UNTIL = datetime(2026, 3, 4, 12, tzinfo=UTC)


class Slow:
    """Answers 0.5 to every row, after some work; `took` are the milliseconds of each batch."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def infer(self, _model: str, _version: int, rows: Sequence[Sequence[float | None]]) -> list[float]:
        started = time.perf_counter()
        sum(range(300_000))
        self.took.append((time.perf_counter() - started) * 1000)
        return [0.5] * len(rows)


@pytest.fixture
def tower(clean_postgres: Cluster, tmp_path: Path) -> OneModel:
    return OneModel(tmp_path, clean_postgres)


def test_every_row_of_a_batch_has_the_latency_of_the_whole_batch(tower: OneModel) -> None:
    slow, reader = Slow(), tower.predictions
    # who replays asks Triton and writes as the gateway
    vars(tower).update(triton=slow, predictions=tower.writer)
    assert replay.replay(tower, NAME, days=2, until=UNTIL)["predictions"] > 30
    found = reader.window(NAME, 1, UNTIL - timedelta(days=2), UNTIL)
    by_day: dict[date, set[float]] = {}
    for at, latency in zip(found["event_time"], found["latency_ms"], strict=True):
        by_day.setdefault(at.date(), set()).add(latency)
    assert [len(values) for values in by_day.values()] == [1, 1]
    for (latency,), took in zip(by_day.values(), slow.took, strict=True):
        assert took <= latency < took + 1000
