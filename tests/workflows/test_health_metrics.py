"""What the database knows, as Prometheus reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.fixtures.postgres import Cluster
from tests.fixtures.releases import contract

from medtower.adapters.postgres import drift, health, incidents, performance
from medtower.adapters.postgres.database import Database
from medtower.domain.drift import DriftFinding, DriftReport, Severity
from medtower.domain.estimate import Estimate, Status
from medtower.domain.incident import Incident
from medtower.domain.routing import Arm, Route, RoutingTable
from medtower.serving import routing
from medtower.workflows import health_metrics
from medtower.workflows.health_metrics import HealthCollector

DAY = datetime(2026, 3, 2, tzinfo=UTC)
Series = dict[tuple[str, ...], float]


@pytest.fixture
def database(clean_postgres: Cluster) -> Database:
    return Database(clean_postgres.dsn("medtower_airflow"))


@pytest.fixture
def reader(clean_postgres: Cluster) -> Database:
    """As the reconciler connects."""
    return Database(clean_postgres.dsn("medtower_reconciler"))


def auc(value: float | None, population: str = "all") -> Estimate:
    lower, upper = (None, None) if value is None else (value - 0.02, value + 0.02)
    return Estimate(
        metric="auc_roc", population=population, n=400, value=value, lower=lower, upper=upper, method="delong"
    )


def keep(
    database: Database,
    version: int,
    *judged: tuple[Estimate, Status],
    as_of: datetime = DAY,
    kind: performance.Kind = "tracking",
) -> None:
    performance.save(
        database,
        model="demo_risk",
        version=version,
        window_start=DAY - timedelta(days=14),
        window_end=DAY,
        as_of=as_of,
        estimates=judged,
        coverage=0.75,
        kind=kind,
    )


def scraped(database: Database, routing_path: Path = Path("no-routing.json")) -> Series:
    """Every series by (name, label values), through the text that Prometheus reads; a series that appears twice fails."""
    registry = CollectorRegistry()
    registry.register(HealthCollector(database, routing_path))
    found: Series = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            key = (
                sample.name,
                *(sample.labels[k] for k in ("model", "metric", "task") if k in sample.labels),
            )
            assert key not in found, key
            found[key] = sample.value
    return found


def test_an_empty_database_gives_no_series(reader: Database) -> None:
    assert scraped(reader) == {}


def test_a_judged_metric_has_its_value_its_status_and_the_label_coverage(
    database: Database, reader: Database
) -> None:
    keep(database, 1, (auc(0.84), Status.CRITICAL))
    found = scraped(reader)
    assert found["medtower_kpi_value", "demo_risk", "auc_roc"] == 0.84
    assert found["medtower_kpi_status", "demo_risk", "auc_roc"] == 2
    assert found["medtower_label_coverage_ratio", "demo_risk"] == 0.75


def test_what_is_not_known_has_a_status_and_no_value(database: Database, reader: Database) -> None:
    keep(database, 1, (auc(None), Status.INSUFFICIENT))
    found = scraped(reader)
    assert found["medtower_kpi_status", "demo_risk", "auc_roc"] == -1
    assert ("medtower_kpi_value", "demo_risk", "auc_roc") not in found


def test_a_population_s_numbers_do_not_stand_for_the_whole(database: Database, reader: Database) -> None:
    keep(database, 1, (auc(0.9), Status.OK), (auc(0.5, "sex=F"), Status.CRITICAL))
    assert scraped(reader)["medtower_kpi_status", "demo_risk", "auc_roc"] == 0


def test_two_versions_judged_on_one_day_make_one_series_which_is_the_newest_version_s(
    database: Database, reader: Database
) -> None:
    keep(database, 1, (auc(0.8), Status.CRITICAL))
    keep(database, 2, (auc(0.9), Status.OK))
    found = scraped(reader)
    assert found["medtower_kpi_value", "demo_risk", "auc_roc"] == 0.9
    assert found["medtower_kpi_status", "demo_risk", "auc_roc"] == 0


def served(folder: Path, version: int | None) -> Path:
    """A routing table in which `version` of the model serves, or nothing does."""
    arms = [
        Arm(name="current", version=v, digest="0" * 64, weight=100, contract=contract("demo_risk"))
        for v in (version,)
        if v is not None
    ]
    route = Route(model="demo_risk", arms=arms)
    table = RoutingTable(commit="0" * 40, published_at=DAY, routes={"demo_risk": route})
    routing.publish(folder / "routing.json", table)
    return folder / "routing.json"


def test_after_a_rollback_the_bad_version_s_numbers_are_gone_at_once(
    database: Database, reader: Database, tmp_path: Path
) -> None:
    keep(database, 1, (auc(0.9), Status.OK))
    keep(database, 2, (auc(0.7), Status.CRITICAL), as_of=DAY + timedelta(days=1))
    assert scraped(reader)["medtower_kpi_status", "demo_risk", "auc_roc"] == 2
    found = scraped(reader, served(tmp_path, 1))
    assert found["medtower_kpi_value", "demo_risk", "auc_roc"] == 0.9
    assert found["medtower_kpi_status", "demo_risk", "auc_roc"] == 0
    names = {key[0] for key in scraped(reader, served(tmp_path, None))}
    assert not {"medtower_kpi_status", "medtower_kpi_value", "medtower_label_coverage_ratio"} & names


def test_a_routing_table_that_cannot_be_read_leaves_the_newest_numbers(
    database: Database, reader: Database, tmp_path: Path
) -> None:
    keep(database, 1, (auc(0.9), Status.OK))
    keep(database, 2, (auc(0.7), Status.CRITICAL), as_of=DAY + timedelta(days=1))
    (tmp_path / "routing.json").write_text("half a tab")
    assert scraped(reader, tmp_path / "routing.json")["medtower_kpi_status", "demo_risk", "auc_roc"] == 2


def test_the_performance_is_asked_for_once_a_refresh(
    database: Database, reader: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, 1, (auc(0.9), Status.OK))
    asked, latest = [], performance.latest
    monkeypatch.setattr(performance, "latest", lambda *a, **k: asked.append(a) or latest(*a, **k))
    assert scraped(reader)["medtower_kpi_status", "demo_risk", "auc_roc"] == 0
    assert len(asked) == 1


def test_a_benchmark_s_figures_are_no_kpi(database: Database, reader: Database) -> None:
    keep(database, 1, (auc(0.9), Status.OK), kind="benchmark")
    assert scraped(reader) == {}


def drift_incident(database: Database, version: int, key: str = "drift/demo_risk") -> Incident:
    incident = Incident(
        key=key,
        model="demo_risk",
        version=version,
        kind="kpi" if key.startswith("drop/") else "drift",
        severity="warning",
        summary="",
        opened_at=DAY,
    )
    incidents.open(database, incident)
    return incident


def test_the_drift_alarm_rings_while_an_incident_of_the_served_version_is_open(
    database: Database, reader: Database, tmp_path: Path
) -> None:
    alarm = ("medtower_drift_alarm", "demo_risk")
    drift_incident(database, 1, "drop/demo_risk")
    assert scraped(reader, served(tmp_path, 1))[alarm] == 0
    incident = drift_incident(database, 1)
    assert scraped(reader, served(tmp_path, 1))[alarm] == 1
    assert scraped(reader, served(tmp_path, 2))[alarm] == 0
    assert alarm not in scraped(reader, served(tmp_path, None))
    incidents.close(database, incident.key, at=DAY, resolution="version 2 proposed")
    assert scraped(reader, served(tmp_path, 1))[alarm] == 0


def test_without_a_routing_table_every_open_drift_incident_rings(
    database: Database, reader: Database
) -> None:
    keep(database, 1, (auc(0.9), Status.OK))
    alarm = ("medtower_drift_alarm", "demo_risk")
    assert scraped(reader)[alarm] == 0
    drift_incident(database, 1)
    assert scraped(reader)[alarm] == 1


def test_the_features_that_drift_are_counted(database: Database, reader: Database) -> None:
    keep(database, 1, (auc(0.9), Status.OK))
    findings = [
        DriftFinding(
            feature=f"input_{i}",
            test="ks",
            statistic=0.3,
            p_value=0.001,
            q_value=0.002,
            effect=0.4,
            n_reference=500,
            n_current=300,
            severity=severity,
        )
        for i, severity in enumerate((Severity.SEVERE, Severity.NONE, Severity.MODERATE))
    ]
    report = DriftReport(
        model="demo_risk", version=1, window_start=DAY - timedelta(days=7), window_end=DAY, findings=findings
    )
    drift.save(database, report)
    assert scraped(reader)["medtower_drifted_features", "demo_risk"] == len(report.drifted)


def test_the_oldest_rollback_that_is_not_validated_is_told_by_model(
    database: Database, reader: Database
) -> None:
    for n, (model, kind) in enumerate(
        [("b_model", "rollback"), ("a_model", "rollback"), ("a_model", "rollback"), ("c_model", "kpi")]
    ):
        incidents.open(
            database,
            Incident(
                key=f"{kind}/{n}",
                model=model,
                version=1,
                kind=kind,
                severity="critical",
                summary="",
                opened_at=DAY + timedelta(hours=n),
            ),
        )
    incidents.close(database, "rollback/0", at=DAY + timedelta(days=1), resolution="passed")
    name = "medtower_rollback_open_timestamp_seconds"
    found = {key[1]: value for key, value in scraped(reader).items() if key[0] == name}
    assert found == {"a_model": (DAY + timedelta(hours=1)).timestamp()}


def test_a_task_s_last_success_is_the_newest_of_its_models(database: Database, reader: Database) -> None:
    health.record(database, "detect_drift", DAY, model="a_model")
    health.record(database, "detect_drift", DAY + timedelta(hours=2), model="b_model")
    found = scraped(reader)
    name = "medtower_task_last_success_timestamp_seconds"
    assert found[name, "detect_drift"] == (DAY + timedelta(hours=2)).timestamp()


def test_the_database_is_read_once_in_a_while_and_not_at_every_scrape(
    database: Database, reader: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = HealthCollector(reader, tmp_path / "routing.json")
    assert next(iter(collector.collect())).samples == []
    keep(database, 1, (auc(0.9), Status.OK))
    assert next(iter(collector.collect())).samples == []
    monkeypatch.setattr(health_metrics, "FRESH_SECONDS", -1)
    assert len(next(iter(collector.collect())).samples) == 1


def test_with_postgres_down_the_series_are_absent_and_the_scrape_still_answers() -> None:
    gone = Database("host=127.0.0.1 port=1 dbname=medtower user=medtower_reconciler")
    assert scraped(gone) == {}
