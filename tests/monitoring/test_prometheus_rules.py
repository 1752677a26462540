"""The rules: read and proven by promtool, complete in what they tell, and made of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

Rule = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "monitoring/prometheus/rules").glob("*.yml"))
PROMTOOL_TESTS = sorted((ROOT / "monitoring/prometheus/tests").glob("*.yml"))
SEVERITIES = {"warning", "page", "none"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: install the Debian package `prometheus`"
)

# What the gateway and the reconciler export: the vocabulary that rules and dashboards may use.
EXPORTED = {
    "medtower_requests_total",
    "medtower_request_seconds_bucket",
    "medtower_errors_total",
    "medtower_arm_requests_total",
    "medtower_queue_depth",
    "medtower_batch_rows_sum",
    "medtower_batch_rows_count",
    "medtower_commit_group_size_sum",
    "medtower_commit_group_size_count",
    "medtower_cache_lookups_total",
    "medtower_cache_errors_total",
    "medtower_predictions_total",
    "medtower_human_review_total",
    "medtower_spool_depth",
    "medtower_spool_oldest_seconds",
    "medtower_spool_writable",
    "medtower_shipped_total",
    "medtower_routing_age_seconds",
    "medtower_triton_up",
    "medtower_breaker_open",
    "medtower_escalations_oldest_seconds",
    "medtower_rejected_total",
    "medtower_desired_version",
    "medtower_served_version",
    "medtower_reconcile_failures_total",
    "medtower_reconcile_last_success_timestamp_seconds",
    "medtower_model_load_seconds",
    "medtower_audit_events_waiting",
    "medtower_rollout_stage",
    "medtower_arm_weight",
    "medtower_kpi_value",
    "medtower_kpi_status",
    "medtower_drifted_features",
    "medtower_drift_alarm",
    "medtower_label_coverage_ratio",
    "medtower_task_last_success_timestamp_seconds",
    "medtower_rollback_open_timestamp_seconds",
}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, check=False
    )


@needs_promtool
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_promtool_accepts_the_rule_file(path: Path) -> None:
    result = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", path)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
@pytest.mark.parametrize("path", PROMTOOL_TESTS, ids=lambda path: path.stem)
def test_the_rules_fire_when_they_should_and_only_then(path: Path) -> None:
    result = run("promtool", "test", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_a_changed_threshold_does_not_pass_unseen(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "monitoring/prometheus", tmp_path / "prometheus")
    rules = tmp_path / "prometheus/rules/gateway.yml"
    rules.write_text(rules.read_text().replace("p95_5m > 0.4 ", "p95_5m > 0.46 "))
    assert run("promtool", "test", "rules", tmp_path / "prometheus/tests/gateway.yml").returncode != 0


def test_every_rule_file_has_a_promtool_test_of_the_same_name() -> None:
    assert [path.name for path in RULES] == [path.name for path in PROMTOOL_TESTS]


def test_every_alert_tells_what_it_means_how_bad_it_is_and_where_to_read_on(alerts: list[Rule]) -> None:
    for alert in alerts:
        name = alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}, name
        assert all(alert["annotations"].values()), name
        assert alert["labels"]["severity"] in SEVERITIES, name
        assert re.fullmatch(r"\d+[mh]", alert["for"]), name


def test_only_drift_asks_for_retraining(alerts: list[Rule]) -> None:
    assert {alert["alert"] for alert in alerts if alert["labels"].get("action") == "retrain"} == {
        "DriftDetected"
    }


def test_an_alert_of_one_name_never_has_the_same_severity_twice(alerts: list[Rule]) -> None:
    pairs = [(alert["alert"], alert["labels"]["severity"]) for alert in alerts]
    assert len(pairs) == len(set(pairs))


def test_every_severity_of_every_alert_is_seen_firing(alerts: list[Rule], alert_cases: list[Rule]) -> None:
    seen = {
        (case["alertname"], expected["exp_labels"]["severity"])
        for case in alert_cases
        for expected in case.get("exp_alerts", [])
    }
    assert {(alert["alert"], alert["labels"]["severity"]) for alert in alerts} == seen


def test_every_alert_but_the_watchdog_is_seen_silent_before_and_in_a_negative_case(
    alerts: list[Rule], alert_cases: list[Rule]
) -> None:
    silent = [case["alertname"] for case in alert_cases if not case["exp_alerts"]]
    too_few = {alert["alert"] for alert in alerts if silent.count(alert["alert"]) < 2}
    assert too_few == {"Watchdog"}


def test_the_rules_name_only_metrics_that_are_exported(rules: list[Rule]) -> None:
    # A metric's name begins at a word; names recorded here hold a colon and are checked below.
    text = " ".join(rule["expr"] for rule in rules)
    assert set(re.findall(r"(?<![\w:])medtower_\w+(?!\w*:)", text)) <= EXPORTED


def test_the_rules_use_only_recorded_series_that_exist(rules: list[Rule]) -> None:
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = set(re.findall(r"[a-z_]+:\w+:\w+", " ".join(rule["expr"] for rule in rules)))
    assert used <= recorded
