"""Performance, drift, incidents and health: written again without a double row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from medtower.adapters.postgres import drift, health, incidents, performance
from medtower.adapters.postgres.database import Database
from medtower.domain.drift import DriftFinding, DriftReport, Severity
from medtower.domain.estimate import Estimate, Status
from medtower.domain.incident import Incident
from medtower.errors import InvalidInput, NotFound
from medtower.local.health import poll

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def database(clean_postgres) -> Database:
    return Database(clean_postgres.dsn("medtower_airflow"))


def estimate(metric: str = "auc_roc", value: float | None = 0.9, **changes) -> Estimate:
    bound = None if value is None else 0.02
    values = {
        "metric": metric,
        "n": 400,
        "value": value,
        "lower": value - bound if value and bound else None,
        "upper": value + bound if value and bound else None,
        "method": "delong",
    }
    return Estimate(**values | changes)


def save(
    database: Database, *estimates: tuple[Estimate, Status], as_of: datetime = MONDAY, **changes
) -> None:
    key = {"model": "als_risk", "version": 3, "window_start": MONDAY - 14 * DAY, "window_end": MONDAY}
    performance.save(database, **key | changes, as_of=as_of, estimates=estimates, coverage=0.8)


def test_tracking_a_window_again_replaces_its_rows(database):
    save(database, (estimate(value=0.9), Status.OK), (estimate("f1", None, n=3), Status.INSUFFICIENT))
    save(database, (estimate(value=0.7), Status.CRITICAL), (estimate("f1", None, n=4), Status.INSUFFICIENT))
    found = performance.latest(database, "als_risk")
    assert [(t.estimate.metric, t.estimate.value, t.status) for t in found] == [
        ("auc_roc", 0.7, Status.CRITICAL),
        ("f1", None, Status.INSUFFICIENT),
    ]
    assert found[0].estimate == estimate(value=0.7)
    assert (found[0].version, found[0].window_end, found[0].as_of, found[0].coverage) == (
        3,
        MONDAY,
        MONDAY,
        0.8,
    )


def test_the_latest_are_those_of_the_newest_date_of_each_model(database):
    save(database, (estimate(value=0.9), Status.OK), as_of=MONDAY)
    save(database, (estimate(value=0.8), Status.WARNING), as_of=MONDAY + DAY)
    save(database, (estimate(value=0.6), Status.OK), model="alzheimer_risk")
    assert [(t.model, t.estimate.value) for t in performance.latest(database)] == [
        ("als_risk", 0.8),
        ("alzheimer_risk", 0.6),
    ]
    assert performance.latest(database, "parkinsons_severity") == []


def test_a_benchmark_is_no_tracking_and_each_has_its_newest_date(database):
    save(database, (estimate(value=0.9), Status.OK))
    save(database, (estimate("throughput", 240), Status.OK), as_of=MONDAY + DAY, kind="benchmark")
    assert [t.estimate.metric for t in performance.latest(database)] == ["auc_roc"]
    assert [t.estimate.metric for t in performance.latest(database, kind="benchmark")] == ["throughput"]
    # on one day and to the microsecond at one time, neither takes the other's place
    save(database, (estimate("throughput", 250), Status.OK), kind="benchmark")
    assert [t.estimate.value for t in performance.latest(database, "als_risk")] == [0.9]
    with pytest.raises(InvalidInput, match="performance_kind_check"):
        save(database, (estimate(), Status.OK), kind="guess")


def test_the_latest_of_each_version_are_those_of_its_own_newest_date(database):
    save(database, (estimate(value=0.9), Status.OK), version=1)
    save(database, (estimate(value=0.8), Status.OK), version=1, as_of=MONDAY + DAY)
    save(database, (estimate(value=0.7), Status.OK), version=2, as_of=MONDAY + 2 * DAY)
    found = performance.latest(database, each_version=True)
    assert [(t.version, t.estimate.value) for t in found] == [(1, 0.8), (2, 0.7)]
    assert [t.version for t in performance.latest(database)] == [2]


def test_a_day_tracked_again_is_replaced_whole_and_nothing_else_is_touched(database):
    end = MONDAY + DAY - timedelta(microseconds=1)
    save(database, (estimate(value=0.9), Status.OK), as_of=MONDAY - timedelta(microseconds=1))
    save(database, (estimate(value=0.8), Status.OK), (estimate("f1"), Status.OK))
    save(database, (estimate(value=0.7), Status.OK), as_of=MONDAY, version=4)
    save(database, (estimate(value=0.6), Status.OK), as_of=MONDAY + DAY)
    save(database, (estimate(value=0.5), Status.OK), model="alzheimer_risk")
    save(database, (estimate(value=0.4), Status.OK), as_of=end, window_end=end)
    with database.transaction() as cursor:
        cursor.execute("select value from medtower.performance order by value")
        assert [value for (value,) in cursor.fetchall()] == [0.4, 0.5, 0.6, 0.7, 0.9]


def test_two_trackings_of_a_day_at_once_wait_for_each_other_and_leave_one(database, postgres):
    held = "select pg_advisory_xact_lock(hashtext('medtower.performance'), hashtext('als_risk'))"
    seconds = timedelta(seconds=1)

    def waiting() -> int:
        with Database(postgres.dsn("medtower_reader")).transaction() as look:
            look.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted")
            return look.fetchone()[0]

    with ThreadPoolExecutor(2) as both:
        with database.transaction() as cursor:
            cursor.execute(held)
            work = [
                both.submit(save, database, (estimate(value=v), Status.OK), as_of=MONDAY + v * seconds)
                for v in (0.7, 0.8)
            ]
            poll(lambda: waiting() == 2, part="the two trackings", deadline=10)
        assert [w.result(timeout=10) for w in work] == [None, None]
    with database.transaction() as cursor:
        cursor.execute("select count(*) from medtower.performance")
        assert cursor.fetchall() == [(1,)]


def test_a_report_as_of_yesterday_stays_when_today_is_computed(database):
    save(database, (estimate(value=0.9), Status.OK), as_of=MONDAY)
    save(database, (estimate(value=0.8), Status.OK), as_of=MONDAY + DAY)
    with database.transaction() as cursor:
        cursor.execute("select value from medtower.performance order by as_of")
        assert cursor.fetchall() == [(0.9,), (0.8,)]


def test_a_status_without_a_number_must_be_insufficient(database):
    with pytest.raises(InvalidInput, match="performance"):
        save(database, (estimate(value=None), Status.OK))


def test_no_estimates_are_no_rows(database):
    save(database)
    assert performance.latest(database) == []


def finding(feature: str, severity: Severity = Severity.NONE, **changes) -> DriftFinding:
    values = {
        "test": "ks",
        "statistic": 0.1,
        "p_value": 0.2,
        "q_value": 0.3,
        "effect": 0.05,
        "n_reference": 500,
        "n_current": 300,
        "severity": severity,
    }
    return DriftFinding(feature=feature, **values | changes)


def report(*findings: DriftFinding, days: int = 0, version: int = 3) -> DriftReport:
    end = MONDAY + days * DAY
    return DriftReport(
        model="als_risk", version=version, window_start=end - 7 * DAY, window_end=end, findings=list(findings)
    )


def test_a_drift_report_comes_back_as_it_was(database):
    kept = report(
        finding("age", Severity.SEVERE),
        finding("flat", Severity.NO_VARIANCE, statistic=None, p_value=None, q_value=None, effect=None),
        finding("prediction"),
    )
    drift.save(database, report(finding("age")))
    drift.save(database, kept)
    assert drift.latest(database, "als_risk") == kept


def test_the_latest_report_is_that_of_the_newest_window(database):
    drift.save(database, report(finding("age"), days=1))
    drift.save(database, report(finding("age", Severity.SEVERE), days=0))
    found = drift.latest(database, "als_risk")
    assert found is not None
    assert found.window_end == MONDAY + DAY
    assert drift.latest(database, "alzheimer_risk") is None


def hourly(hours: float, severity: Severity) -> DriftReport:
    """The report of a window of a week that ends `hours` after Monday."""
    end = MONDAY + timedelta(hours=hours)
    window = {"window_start": end - 7 * DAY, "window_end": end}
    return report(finding("age", severity)).model_copy(update=window)


def test_a_features_history_is_newest_first_and_of_one_version(database):
    for week, severity in enumerate([Severity.SEVERE, Severity.NONE, Severity.MODERATE]):
        drift.save(database, report(finding("age", severity), finding("sex"), days=7 * week))
    drift.save(database, report(finding("age", Severity.SEVERE), days=99, version=4))
    found = drift.history(database, "als_risk", 3, windows=2)
    assert found == {"age": [Severity.MODERATE, Severity.NONE], "sex": [Severity.NONE, Severity.NONE]}


def test_two_windows_around_midnight_are_one(database):
    for hours in (0, 1):
        drift.save(database, hourly(hours, Severity.SEVERE))
    assert drift.history(database, "als_risk", 3, windows=9) == {"age": [Severity.SEVERE]}


def test_of_windows_that_overlap_only_the_newest_counts(database):
    week = 7 * 24
    for hours, severity in {
        0: Severity.SEVERE,
        1: Severity.NONE,  # ends when the newest but one begins
        2: Severity.SEVERE,
        week: Severity.SEVERE,
        week + 1: Severity.MODERATE,  # ends when the newest begins
        week + 2: Severity.NONE,
        2 * week: Severity.NONE,
        2 * week + 1: Severity.SEVERE,
    }.items():
        drift.save(database, hourly(hours, severity))
    found = drift.history(database, "als_risk", 3, windows=9)
    assert found == {"age": [Severity.SEVERE, Severity.MODERATE, Severity.NONE]}


def test_windows_with_too_little_of_a_feature_are_passed_over_in_its_history_alone(database):
    thin = Severity.INSUFFICIENT
    weeks = [
        (Severity.SEVERE, Severity.NONE, thin),
        (Severity.MODERATE, thin, thin),
        (thin, Severity.SEVERE, thin),
        (thin, Severity.NO_VARIANCE, thin),
    ]
    for week, severities in enumerate(weeks):
        named = zip(("age", "nfl", "crea"), severities, strict=True)
        drift.save(database, report(*(finding(n, s) for n, s in named), days=7 * week))
    assert drift.history(database, "als_risk", 3, windows=2) == {
        "age": [Severity.MODERATE, Severity.SEVERE],
        "nfl": [Severity.NO_VARIANCE, Severity.SEVERE],
    }


def test_the_newest_window_in_which_the_feature_could_be_tested_counts(database):
    for hours, severity in enumerate([Severity.NONE, Severity.SEVERE, Severity.INSUFFICIENT]):
        drift.save(database, hourly(hours, severity))
    assert drift.history(database, "als_risk", 3, windows=2) == {"age": [Severity.SEVERE]}


def test_a_history_stays_newest_first_when_the_contract_s_order_changes(database):
    drift.save(database, report(finding("age", Severity.SEVERE), finding("sex")))
    drift.save(database, report(finding("sex"), finding("age", Severity.MODERATE), days=7))
    found = drift.history(database, "als_risk", 3, windows=2)
    assert found["age"] == [Severity.MODERATE, Severity.SEVERE]


def test_a_report_without_findings_leaves_no_row(database):
    drift.save(database, report())
    assert drift.latest(database, "als_risk") is None


def incident(key: str = "kpi/als_risk/3", **changes) -> Incident:
    values = {
        "model": "als_risk",
        "version": 3,
        "kind": "kpi",
        "severity": "critical",
        "summary": "sensitivity below its bound",
        "opened_at": MONDAY,
    }
    return Incident(key=key, **values | changes)


def test_an_incident_opens_once(database):
    assert incidents.open(database, incident())
    assert not incidents.open(database, incident(summary="again"))
    assert incidents.find(database) == [incident()]


def test_an_incident_closes_once_with_its_first_resolution(database):
    incidents.open(database, incident())
    assert incidents.close(database, incident().key, at=MONDAY + DAY, resolution="reverted to 2")
    assert not incidents.close(database, incident().key, at=MONDAY + 2 * DAY, resolution="other")
    assert incidents.find(database)[0].resolution == "reverted to 2"
    assert not incidents.open(database, incident())


def test_closing_an_unknown_incident_names_it(database):
    with pytest.raises(NotFound, match="kpi/nothing"):
        incidents.close(database, "kpi/nothing", at=MONDAY, resolution="x")


def test_incidents_are_found_by_model_and_by_being_open(database):
    incidents.open(database, incident())
    incidents.open(database, incident("b", model="alzheimer_risk", version=None, opened_at=MONDAY - DAY))
    incidents.close(database, "b", at=MONDAY, resolution="done")
    assert [i.key for i in incidents.find(database)] == ["b", "kpi/als_risk/3"]
    assert [i.key for i in incidents.find(database, only_open=True)] == ["kpi/als_risk/3"]
    assert [i.key for i in incidents.find(database, "alzheimer_risk")] == ["b"]


def test_a_tasks_last_success_never_goes_back(database):
    health.record(database, "track_performance", MONDAY, model="als_risk")
    health.record(database, "track_performance", MONDAY - DAY, model="als_risk")
    health.record(database, "reconcile_health", MONDAY - DAY)
    health.record(database, "reconcile_health", MONDAY + DAY)
    assert health.last_success(database) == {
        ("reconcile_health", ""): MONDAY + DAY,
        ("track_performance", "als_risk"): MONDAY,
    }
