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
from medtower.domain.incident import Incident
from medtower.workflows import benchmark, service_levels


@pytest.fixture
def tower(clean_postgres: Cluster, tmp_path: Path) -> OneModel:
    return OneModel(tmp_path, clean_postgres)


def measured(monkeypatch: pytest.MonkeyPatch, milliseconds: float) -> None:
    found = Estimate(
        metric="latency_p95", n=500, value=milliseconds, lower=milliseconds - 1, upper=milliseconds + 1
    )
    monkeypatch.setattr(benchmark, "measure", lambda *_: [found])


def run(tower: OneModel, monkeypatch: pytest.MonkeyPatch, milliseconds: float) -> None:
    measured(monkeypatch, milliseconds)
    benchmark.benchmark(NAME, tower)


def opened(tower: OneModel) -> list[Incident]:
    return incidents.find(tower.database, NAME, only_open=True)


@pytest.mark.parametrize(("milliseconds", "opens"), [(100, False), (3500, False), (4500, True)])
def test_a_service_level_past_its_critical_bound_opens_an_incident(
    tower: OneModel, monkeypatch: pytest.MonkeyPatch, milliseconds: float, opens: bool
) -> None:
    run(tower, monkeypatch, milliseconds)
    found = [(i.version, i.kind, i.severity, i.summary) for i in opened(tower)]
    assert found == [(1, "availability", "critical", "latency_p95 4.5e+03 (n=500)") for _ in range(opens)]
    assert all(i.key.startswith(f"benchmark/{NAME}/1/latency_p95/") for i in opened(tower))


def test_a_fault_that_lasts_is_one_incident_and_the_first_healthy_measurement_closes_it(
    tower: OneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tower, monkeypatch, 4500)
    run(tower, monkeypatch, 4600)
    run(tower, monkeypatch, 3500)  # a warning is not health
    assert len(opened(tower)) == 1
    run(tower, monkeypatch, 100)
    (incident,) = incidents.find(tower.database, NAME)
    assert incident.closed_at is not None
    assert incident.resolution == "measured again: latency_p95 100 (n=500)"


def test_a_fault_that_comes_back_on_the_same_day_is_told_again(
    tower: OneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for milliseconds in (4500, 100, 4500):
        run(tower, monkeypatch, milliseconds)
    assert len(incidents.find(tower.database, NAME)) == 2
    assert len(opened(tower)) == 1


def test_a_metric_s_health_closes_no_incident_of_another_metric_and_nothing_known_closes_none(
    tower: OneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tower, monkeypatch, 4500)
    unknown = Estimate(metric="latency_p95", n=3, value=None, lower=None, upper=None)
    healthy = Estimate(metric="error_rate", n=500, value=0.0, lower=0.0, upper=0.01)
    monkeypatch.setattr(benchmark, "measure", lambda *_: [unknown, healthy])
    benchmark.benchmark(NAME, tower)
    assert [i.summary for i in opened(tower)] == ["latency_p95 4.5e+03 (n=500)"]


@pytest.mark.parametrize(
    ("version", "resolution"), [(2, "version 2 serves instead"), (None, "no version serves")]
)
def test_what_a_version_did_wrong_is_over_when_it_no_longer_serves(
    tower: OneModel, monkeypatch: pytest.MonkeyPatch, version: int | None, resolution: str
) -> None:
    run(tower, monkeypatch, 4500)
    tower.release(version)
    run(tower, monkeypatch, 4500)
    assert incidents.find(tower.database, NAME)[0].resolution == resolution
    assert [i.version for i in opened(tower)] == ([version] if version else [])


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
