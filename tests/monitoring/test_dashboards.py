"""The dashboard: valid JSON, questions that Prometheus can read, series that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from medtower.domain.disclaimer import DISCLAIMER

DASHBOARDS = sorted((Path(__file__).resolve().parents[2] / "monitoring/dashboards").glob("*.json"))


def expressions(path: Path) -> list[str]:
    """Every question of the dashboard, with Grafana's variable set to one that matches everything."""
    panels = json.loads(path.read_text())["panels"]
    return [target["expr"].replace("$model", ".*") for panel in panels for target in panel["targets"]]


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: install the Debian package `prometheus`"
)
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_prometheus_can_read_every_question(path: Path, tmp_path: Path) -> None:
    rules = [{"record": f"panel:question:{i}", "expr": text} for i, text in enumerate(expressions(path))]
    as_rules = tmp_path / "questions.yml"
    as_rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = subprocess.run(
        ["promtool", "check", "rules", str(as_rules)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_recorded_series_of_the_dashboard_exists(path: Path, rules: list[dict[str, Any]]) -> None:
    recorded = {rule["record"] for rule in rules if "record" in rule}
    assert set(re.findall(r"[a-z_]+:\w+:\w+", " ".join(expressions(path)))) <= recorded


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_two_panels_overlap_or_share_an_id(path: Path) -> None:
    panels = json.loads(path.read_text())["panels"]
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_dashboard_carries_the_disclaimer(path: Path) -> None:
    assert json.loads(path.read_text())["description"] == DISCLAIMER
