"""What the monitoring tests share: the rules and their promtool tests, read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

MONITORING = Path(__file__).resolve().parents[2] / "monitoring"

Rule = dict[str, Any]


@pytest.fixture(scope="session")
def monitoring() -> Path:
    """The folder under test."""
    return MONITORING


@pytest.fixture(scope="session")
def rules() -> list[Rule]:
    """Every rule of every file, alerts and records alike."""
    documents = (
        yaml.safe_load(path.read_text()) for path in sorted(MONITORING.glob("prometheus/rules/*.yml"))
    )
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def alerts(rules: list[Rule]) -> list[Rule]:
    """Every alerting rule; an alert with two severities is two rules of one name."""
    return [rule for rule in rules if "alert" in rule]


@pytest.fixture(scope="session")
def alert_cases() -> list[Rule]:
    """Every `alert_rule_test` entry of every promtool test file."""
    documents = (
        yaml.safe_load(path.read_text()) for path in sorted(MONITORING.glob("prometheus/tests/*.yml"))
    )
    return [
        case
        for document in documents
        for test in document["tests"]
        for case in test.get("alert_rule_test", [])
    ]
