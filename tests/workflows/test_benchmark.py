"""The benchmark's verdicts: kept apart from tracking, and told when a service level is past its critical bound."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.one_model import NAME, OneModel
from tests.fixtures.postgres import Cluster

from medtower.adapters.postgres import incidents, performance
from medtower.domain.estimate import Estimate
from medtower.workflows import benchmark, service_levels


@pytest.fixture
def tower(clean_postgres: Cluster, tmp_path: Path) -> OneModel:
    return OneModel(tmp_path, clean_postgres)


def measured(monkeypatch: pytest.MonkeyPatch, milliseconds: float) -> None:
    found = Estimate(
        metric="latency_p95", n=500, value=milliseconds, lower=milliseconds - 1, upper=milliseconds + 1
    )
    monkeypatch.setattr(benchmark, "measure", lambda *_: [found])


@pytest.mark.parametrize(("milliseconds", "opens"), [(100, False), (3500, False), (4500, True)])
def test_a_service_level_past_its_critical_bound_opens_an_incident(
    tower: OneModel, monkeypatch: pytest.MonkeyPatch, milliseconds: float, opens: bool
) -> None:
    measured(monkeypatch, milliseconds)
    benchmark.benchmark(NAME, tower)
    found = incidents.find(tower.database, NAME, only_open=True)
    assert [(i.key, i.kind, i.severity, i.summary) for i in found] == [
        (
            f"benchmark/{NAME}/1/{datetime.now(UTC):%Y-%m-%d}",
            "availability",
            "critical",
            "latency_p95 4.5e+03 (n=500)",
        )
        for _ in range(opens)
    ]


def test_a_benchmark_is_kept_apart_with_the_time_it_took_and_a_second_one_of_the_day_replaces_it(
    tower: OneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = datetime.now(UTC)
    for milliseconds in (100, 120):
        measured(monkeypatch, milliseconds)
        benchmark.benchmark(NAME, tower)
    (row,) = performance.latest(tower.database, NAME, kind="benchmark")
    assert (row.estimate.value, row.coverage) == (120, None)
    assert started < row.window_start < row.window_end == row.as_of < datetime.now(UTC)
    assert performance.latest(tower.database, NAME) == []


def test_a_throughput_says_that_its_interval_is_of_rounds_and_its_n_of_requests() -> None:
    found = service_levels._throughput(np.arange(1.0, 11.0), 500)
    assert (found.value, found.n, found.method) == (5.5, 500, "median of 10 rounds, order statistics")
    assert found.lower is not None
    assert found.lower < 5.5
