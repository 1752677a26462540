"""Who is told: Alertmanager's configuration, asked through amtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

CONFIGURATION = Path(__file__).resolve().parents[2] / "monitoring/alertmanager/alertmanager.yml"

needs_amtool = pytest.mark.skipif(
    shutil.which("amtool") is None,
    reason="amtool is missing: install the Debian package `prometheus-alertmanager`",
)


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, timeout=60, check=False)


def receivers(labels: list[str]) -> str:
    result = amtool("config", "routes", "test", f"--config.file={CONFIGURATION}", *labels)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@needs_amtool
def test_amtool_accepts_the_configuration() -> None:
    result = amtool("check-config", str(CONFIGURATION))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["alertname=KpiWarning", "severity=warning"], "clinical-operations"),
        (["alertname=NobodyThoughtOfThis"], "clinical-operations"),
        (["alertname=TritonDown", "severity=page"], "pager"),
        (["alertname=Watchdog", "severity=none"], "dead-mans-switch"),
        (
            ["alertname=DriftDetected", "severity=warning", "action=retrain"],
            "retrain-adapter,clinical-operations",
        ),
        (["alertname=DriftDetected", "severity=page", "action=retrain"], "retrain-adapter,pager"),
    ],
    ids=["warning", "unknown", "page", "watchdog", "retrain", "retrain that pages"],
)
def test_an_alert_reaches_its_receivers(labels: list[str], expected: str) -> None:
    assert receivers(labels) == expected


@needs_amtool
def test_every_alert_of_the_rules_is_told_to_somebody_fitting(alerts: list[dict[str, Any]]) -> None:
    primary = {"page": "pager", "warning": "clinical-operations", "none": "dead-mans-switch"}
    for alert in alerts:
        labels = [
            f"alertname={alert['alert']}",
            *(f"{key}={value}" for key, value in alert["labels"].items()),
        ]
        told = receivers(labels).split(",")
        assert told[-1] == primary[alert["labels"]["severity"]], alert["alert"]
        assert ("retrain-adapter" in told) == (alert["labels"].get("action") == "retrain"), alert["alert"]


def test_every_receiver_is_a_webhook_on_loopback_without_a_secret() -> None:
    for receiver in yaml.safe_load(CONFIGURATION.read_text())["receivers"]:
        assert receiver.keys() == {"name", "webhook_configs"}
        for webhook in receiver["webhook_configs"]:
            url = urlsplit(webhook["url"])
            assert (url.hostname, url.username, url.query) == ("127.0.0.1", None, "")


def test_the_retrain_adapter_is_called_with_a_token_from_a_file() -> None:
    document = yaml.safe_load(CONFIGURATION.read_text())
    (adapter,) = [receiver for receiver in document["receivers"] if receiver["name"] == "retrain-adapter"]
    (webhook,) = adapter["webhook_configs"]
    assert webhook["http_config"]["authorization"].keys() == {"credentials_file"}


def test_a_page_silences_the_warning_of_the_same_thing_only() -> None:
    document = yaml.safe_load(CONFIGURATION.read_text())
    (rule,) = [rule for rule in document["inhibit_rules"] if "equal" in rule]
    assert {"alertname", "model", "version", "instance", "mountpoint"} <= set(rule["equal"])
