"""Detecting drift: when it alarms, what it opens, and which pages it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.fixtures.one_model import NAME, OneModel
from tests.fixtures.postgres import Cluster

from medtower.adapters.postgres import incidents
from medtower.domain.incident import Incident
from medtower.drift import evidently_report
from medtower.workflows.detect import detect

SUNDAY = datetime(2026, 3, 8, 23, 40, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
WINDOW = 3 * DAY  # of the contract in tests.fixtures.tower


class Reference:
    """In MLflow's place: gives out what version 1 saw in training."""

    def version(self, name: str, version: int) -> SimpleNamespace:
        return SimpleNamespace(run_id=f"{name}-{version}")

    def fetch_file(self, run_id: str, name: str, to: Path) -> Path:
        assert (run_id, name) == (f"{NAME}-1", "reference.npz")
        rows, scores = patients(500, seed=1)
        np.savez(to / name, features=rows, prediction=scores)
        return to / name


def patients(
    n: int, *, seed: int, creatinine: float = 1.2
) -> tuple[np.ndarray[tuple[int, int]], np.ndarray[tuple[int]]]:
    random = np.random.default_rng(seed)
    columns = (
        random.normal(60, 10, n).round(),
        random.integers(0, 2, n).astype(float),
        random.normal(creatinine, 0.2, n),
        random.normal(40, 5, n),
    )
    return np.column_stack(columns).astype(np.float32), random.uniform(0.2, 0.8, n)


@pytest.fixture
def make(clean_postgres: Cluster, tmp_path: Path) -> Callable[..., OneModel]:
    def made(persistence: int = 1) -> OneModel:
        tower = OneModel(tmp_path, clean_postgres, drift={"persistence": persistence})
        vars(tower)["registry"] = Reference()
        return tower

    return made


@pytest.fixture
def details(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of Evidently's pages, in the order they were made; small pages stand for the real ones, which take seconds."""
    made: list[str] = []

    def write(
        _contract: object, _reference: object, current: np.ndarray[tuple[int, int]], path: Path
    ) -> None:
        assert len(current)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<html></html>")
        made.append(path.name)

    monkeypatch.setattr(evidently_report, "write", write)
    return made


def traffic(
    tower: OneModel, start: datetime, *, creatinine: float = 1.2, n: int = 200, hours: float = 1
) -> None:
    rows, scores = patients(n, seed=2, creatinine=creatinine)
    tower.answer(rows.astype(float).tolist(), scores.tolist(), start=start, hours=hours)


def opened(tower: OneModel) -> list[Incident]:
    return incidents.find(tower.database, NAME)


def test_patients_like_those_of_the_training_raise_nothing(
    make: Callable[..., OneModel], details: list[str]
) -> None:
    tower = make()
    traffic(tower, SUNDAY - DAY)
    found = detect(NAME, tower, until=SUNDAY)
    assert (found["n"], found["drifted"], found["alarm"]) == (200, [], False)
    assert (opened(tower), details) == ([], [])


def test_the_incident_has_the_time_and_the_week_of_the_test_and_not_of_the_hour_s_end(
    make: Callable[..., OneModel], details: list[str]
) -> None:
    tower = make()
    traffic(tower, SUNDAY - DAY, creatinine=2.4)
    assert detect(NAME, tower, until=SUNDAY)["drifted"] == ["creatinine"]
    (incident,) = opened(tower)
    assert (incident.key, incident.opened_at) == (f"drift/{NAME}/1/2026-W10", SUNDAY)
    assert details == ["drift-detail-2026-03-08.html"]


def test_windows_that_overlap_are_one_window_for_an_alarm_that_needs_two(
    make: Callable[..., OneModel], details: list[str]
) -> None:
    tower = make(persistence=2)
    traffic(tower, SUNDAY - DAY, creatinine=2.4)
    traffic(tower, SUNDAY + WINDOW - DAY, creatinine=2.4)
    for later in (-HOUR, 0 * HOUR, HOUR, WINDOW - 2 * HOUR):  # 23:40 and 00:40 are two dates and one window
        found = detect(NAME, tower, until=SUNDAY + later)
        assert (found["drifted"], found["alarm"]) == (["creatinine"], False)
    assert opened(tower) == []
    assert detect(NAME, tower, until=SUNDAY + WINDOW)["alarm"] is True
    assert [i.opened_at for i in opened(tower)] == [SUNDAY + WINDOW]


def test_windows_with_too_few_patients_neither_clear_an_alarm_nor_open_a_new_one(
    make: Callable[..., OneModel], details: list[str]
) -> None:
    tower = make(persistence=2)
    for moment in (SUNDAY - WINDOW, SUNDAY):
        traffic(tower, moment - DAY, creatinine=2.4)
        detect(NAME, tower, until=moment)
    assert len(opened(tower)) == 1
    quiet = SUNDAY + 7 * DAY
    for moment in (quiet, quiet + DAY):
        found = detect(NAME, tower, until=moment)
        assert (found["n"], found["drifted"], found["alarm"]) == (0, [], True)
    assert len(opened(tower)) == 1
    traffic(tower, quiet + 2 * DAY, creatinine=2.4)
    assert detect(NAME, tower, until=quiet + 3 * DAY)["alarm"] is True
    assert len(opened(tower)) == 2


def test_the_long_page_is_made_once_a_day_and_every_report_of_the_day_links_to_it(
    make: Callable[..., OneModel], details: list[str]
) -> None:
    tower = make()
    traffic(tower, SUNDAY - DAY, creatinine=2.4)
    moments = [SUNDAY - 2 * HOUR, SUNDAY - HOUR, SUNDAY, SUNDAY + HOUR]
    pages = [Path(str(detect(NAME, tower, until=m)["report"])) for m in moments]
    assert details == ["drift-detail-2026-03-08.html", "drift-detail-2026-03-09.html"]
    linked = [[d for d in details if f'href="{d}"' in page.read_text()] for page in pages]
    assert linked == [[details[0]]] * 3 + [[details[1]]]


def test_pages_older_than_thirty_days_go_and_the_index_lists_what_is_left(
    make: Callable[..., OneModel], details: list[str]
) -> None:
    tower = make()
    folder = tower.settings.path("reports") / NAME
    folder.mkdir(parents=True)
    written = datetime.now(UTC).timestamp()
    for name, age in {
        "drift-old.html": 31,
        "performance-kept.html": 29,
        ".drift-old.html.9.draft": 31,
    }.items():
        (folder / name).write_text("<html></html>")
        os.utime(folder / name, (written - age * 86400,) * 2)
    traffic(tower, SUNDAY - DAY)
    page = Path(str(detect(NAME, tower, until=SUNDAY)["report"]))
    assert {p.name for p in folder.iterdir()} == {page.name, "performance-kept.html"}
    index = (folder.parent / "index.html").read_text()
    assert f'href="{NAME}/{page.name}"' in index
    assert "performance-kept.html" in index
    assert "drift-old" not in index
