"""Tracking: what is judged, what is kept, which incidents it opens and closes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.fixtures.one_model import NAME, OneModel
from tests.fixtures.postgres import Cluster

from medtower.adapters.postgres import incidents, performance
from medtower.domain.estimate import Estimate, EvaluationReport, Status
from medtower.domain.incident import Incident
from medtower.workflows.track import label_coverage, performance_drop, track, worst_status

NOW = datetime(2026, 3, 4, 10, 17, 42, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = "2026-W10"
PATIENT = [60.0, 0.0, 1.2, 40.0]
BRIER = {"brier": {"target": 0.1, "warning": 0.2, "critical": 0.3}}

Make = Callable[..., OneModel]


@pytest.fixture
def make(clean_postgres: Cluster, tmp_path: Path) -> Make:
    return lambda **changes: OneModel(tmp_path, clean_postgres, **changes)


def estimate(metric: str, value: float | None, bound: float = 0.01, population: str = "all") -> Estimate:
    lower, upper = (None, None) if value is None else (value - bound, value + bound)
    return Estimate(metric=metric, population=population, n=400, value=value, lower=lower, upper=upper)


def released_with(tower: OneModel, metric: str, value: float | None, version: int = 1) -> None:
    """The dossier of `version` says that `metric` was `value`."""
    report = EvaluationReport(
        model=NAME,
        n=400,
        positives=100,
        estimates=[estimate(metric, value)],
        calibration=None,
        holdout_sha256="0" * 64,
        evaluated_at=NOW - 30 * DAY,
    )
    folder = tower.kept.folder / "dossiers" / str(version)
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(report.model_dump_json())


def traffic(tower: OneModel, separation: float, *, start: datetime = NOW - 10 * DAY, n: int = 400) -> None:
    """`n` labelled answers: the score of those who decline lies `separation` higher, in units of its spread."""
    random = np.random.default_rng(7)
    outcome = (random.random(n) < 0.5).astype(float)
    score = 1 / (1 + np.exp(-(random.normal(size=n) + separation * (outcome - 0.5))))
    tower.answer([PATIENT] * n, score.tolist(), start=start, outcomes=outcome.tolist())


def opened(tower: OneModel) -> dict[str, Incident]:
    return {i.key: i for i in incidents.find(tower.database, NAME, only_open=True)}


def kept(tower: OneModel) -> list[performance.Tracked]:
    return [r for r in performance.latest(tower.database, NAME) if r.estimate.population == "all"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], Status.INSUFFICIENT),
        ([Status.INSUFFICIENT, Status.OK], Status.OK),
        ([Status.OK, Status.WARNING, Status.INSUFFICIENT], Status.WARNING),
        ([Status.WARNING, Status.CRITICAL, Status.OK], Status.CRITICAL),
        ([Status.INSUFFICIENT], Status.INSUFFICIENT),
    ],
)
def test_the_gravest_status_stands_for_all(statuses: list[Status], expected: Status) -> None:
    assert worst_status(statuses) is expected


@pytest.mark.parametrize(
    ("metric", "at_release", "now", "bound", "dropped"),
    [
        ("auc_roc", 0.90, 0.80, 0.01, True),
        ("auc_roc", 0.90, 0.99, 0.01, False),
        ("auc_roc", 0.90, 0.87, 0.01, False),
        ("auc_roc", 0.90, 0.83, 0.03, False),  # 0.86 is still possible: a drop by 0.04
        ("brier", 0.10, 0.20, 0.01, True),
        ("brier", 0.10, 0.01, 0.01, False),
        ("brier", 0.10, 0.13, 0.01, False),
        ("brier", 0.10, 0.17, 0.03, False),
        ("auc_roc", 0.90, None, 0.01, False),
        ("auc_roc", None, 0.50, 0.01, False),
    ],
)
def test_a_drop_is_for_the_worse_and_by_more_than_the_contract_allows(
    make: Make, metric: str, at_release: float | None, now: float | None, bound: float, dropped: bool
) -> None:
    tower = make(gates={"primary": metric}, kpis=BRIER, retraining={"drop": 0.05})
    released_with(tower, metric, at_release)
    judged = [
        (estimate(metric, 0.5, population="sex=F"), Status.OK),
        (estimate(metric, now, bound), Status.OK),
    ]
    assert performance_drop(tower.kept, 1, judged) is dropped


def test_a_version_without_a_dossier_has_nothing_to_drop_from(make: Make) -> None:
    tower = make()
    released_with(tower, "auc_roc", 0.9)
    assert performance_drop(tower.kept, 1, [(estimate("auc_roc", 0.5), Status.OK)])
    assert not performance_drop(tower.kept, 2, [(estimate("auc_roc", 0.5), Status.OK)])


def test_a_drop_opens_an_incident_also_when_no_kpi_is_critical(make: Make) -> None:
    tower = make()
    released_with(tower, "auc_roc", 0.99)
    traffic(tower, 1.5)
    assert track(NAME, tower, as_of=NOW)["critical"] == []
    ((key, incident),) = opened(tower).items()
    assert key == f"drop/{NAME}/1/{WEEK}"
    assert (incident.kind, incident.severity, incident.opened_at) == ("kpi", "warning", NOW)
    assert incident.summary.startswith("auc_roc 0.8")
    assert incident.summary.endswith("(n=400) is worse than at release by more than 0.05")


def test_a_critical_kpi_opens_an_incident_also_without_a_drop(make: Make) -> None:
    tower = make()
    released_with(tower, "auc_roc", 0.5)
    traffic(tower, 0)
    assert track(NAME, tower, as_of=NOW)["critical"] == ["auc_roc"]
    ((key, incident),) = opened(tower).items()
    assert key == f"kpi/{NAME}/1/{WEEK}"
    assert (incident.kind, incident.severity) == ("kpi", "critical")


def test_a_critical_kpi_that_dropped_opens_both_and_a_second_look_opens_no_more(make: Make) -> None:
    tower = make()
    released_with(tower, "auc_roc", 0.9)
    traffic(tower, 0)
    for later in (timedelta(0), timedelta(hours=2)):
        track(NAME, tower, as_of=NOW + later)
    assert opened(tower).keys() == {f"kpi/{NAME}/1/{WEEK}", f"drop/{NAME}/1/{WEEK}"}


def test_a_model_as_good_as_promised_opens_nothing(make: Make) -> None:
    tower = make()
    released_with(tower, "auc_roc", 0.9)
    traffic(tower, 2.5)
    assert track(NAME, tower, as_of=NOW)["status"] == "ok"
    assert opened(tower) == {}


@pytest.mark.parametrize(
    ("serves", "resolution"),
    [(1, None), (2, "version 2 serves instead"), (None, "no version serves")],
    ids=["the same", "another", "none"],
)
def test_a_kpi_incident_ends_with_its_version_and_a_drop_waits_for_retraining(
    make: Make, serves: int | None, resolution: str | None
) -> None:
    tower = make()
    drop, breach = f"drop/{NAME}/1/2026-W09", f"kpi/{NAME}/1/2026-W09"
    for key in (drop, breach):
        incident = Incident(
            key=key, model=NAME, version=1, kind="kpi", severity="critical", summary="", opened_at=NOW - DAY
        )
        incidents.open(tower.database, incident)
    tower.release(serves)
    track(NAME, tower, as_of=NOW)
    found = {i.key: i.resolution for i in incidents.find(tower.database, NAME)}
    assert found == {drop: None, breach: resolution}


@pytest.mark.parametrize(
    ("ages", "outcomes", "expected"),
    [
        ([], [], None),
        ([1, 2], [np.nan, 1.0], None),
        ([7], [1.0], None),  # due now, not yet overdue
        ([8, 9, 1], [1.0, np.nan, np.nan], 0.5),
        ([8, 9, 10], [0.0, 1.0, 0.0], 1.0),
        ([8], [np.nan], 0.0),
    ],
)
def test_only_predictions_that_should_have_an_outcome_count_for_coverage(
    ages: list[int], outcomes: list[float], expected: float | None
) -> None:
    made = [NOW - age * DAY for age in ages]
    assert label_coverage(made, np.array(outcomes, dtype=np.float64), NOW - 7 * DAY) == expected


@pytest.mark.parametrize(("delay", "expected"), [(3, 1.0), (0.5, 0.5), (12, None)])
def test_the_contract_s_delay_says_which_outcomes_are_due(
    make: Make, delay: float, expected: float | None
) -> None:
    tower = make(tracking={"label_delay_days": delay})
    traffic(tower, 2.5, n=100)
    tower.answer([PATIENT] * 100, [0.5] * 100, start=NOW - DAY)
    found = track(NAME, tower, as_of=NOW)
    assert (found["n"], found["labelled"]) == (200, 100)
    assert {r.coverage for r in kept(tower)} == {expected}
    told = "insufficient data" if expected is None else f"{100 * expected:.1f} %"
    assert f"<b>{told}</b>" in Path(str(found["report"])).read_text()


def test_the_window_that_is_kept_is_the_one_that_was_computed(make: Make) -> None:
    tower = make()
    for start in (NOW - 14 * DAY, NOW - 14 * DAY - timedelta(microseconds=1), NOW):
        tower.answer([PATIENT], [0.5], start=start)
    assert track(NAME, tower, as_of=NOW)["n"] == 1
    assert {(r.window_start, r.window_end, r.as_of) for r in kept(tower)} == {(NOW - 14 * DAY, NOW, NOW)}


def test_tracking_a_day_again_replaces_it_and_the_day_before_stays(make: Make) -> None:
    tower = make()
    traffic(tower, 2.5)
    for moment in (NOW - DAY, NOW, NOW + timedelta(hours=3)):
        track(NAME, tower, as_of=moment)
    with tower.database.transaction() as cursor:
        cursor.execute("select distinct as_of, kind from medtower.performance order by 1")
        assert cursor.fetchall() == [(NOW - DAY, "tracking"), (NOW + timedelta(hours=3), "tracking")]


def test_the_report_is_on_the_index_page(make: Make) -> None:
    tower = make()
    report = Path(str(track(NAME, tower, as_of=NOW)["report"]))
    assert f'href="{NAME}/{report.name}"' in (tower.settings.path("reports") / "index.html").read_text()


def test_a_model_that_nothing_serves_has_nothing_to_track(make: Make) -> None:
    tower = make()
    tower.release(None)
    found: dict[str, Any] = track(NAME, tower, as_of=NOW)
    assert json.loads(json.dumps(found)) == {"model": NAME, "version": None, "status": "insufficient data"}
    assert kept(tower) == []
