"""Prometheus' configuration for a tower, validated by Prometheus' own tool."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from medtower.local import ports, prometheus, tower
from medtower.local.state import TowerState

PROMTOOL = shutil.which("promtool", path="/usr/bin:/usr/local/bin")


@pytest.fixture
def found(tmp_path: Path) -> TowerState:
    numbered = {name: 21000 + i for i, name in enumerate(ports.NAMES)}
    return TowerState(
        home=tmp_path,
        source=tower.source_folder(),
        ports=numbered,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        watched=True,
    )


def test_every_part_is_scraped_at_its_port_and_the_repository_s_rules_are_read(found: TowerState) -> None:
    configuration = yaml.safe_load(prometheus.write_configuration(found).read_text())
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in configuration["scrape_configs"]
    }
    assert targets == {
        "prometheus": [f"127.0.0.1:{found.ports['prometheus']}"],
        "alertmanager": [f"127.0.0.1:{found.ports['alertmanager']}"],
        "gateway": [f"127.0.0.1:{found.ports['gateway']}"],
        "reconciler": [f"127.0.0.1:{found.ports['reconciler']}"],
        "triton": [f"127.0.0.1:{found.ports['triton_metrics']}"],
    }
    (pattern,) = configuration["rule_files"]
    assert list(Path(pattern).parent.glob(Path(pattern).name))


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian: prometheus)")
def test_promtool_accepts_the_configuration_with_its_rules(found: TowerState) -> None:
    path = prometheus.write_configuration(found)
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


@pytest.mark.skipif(
    prometheus.programs() is None, reason="needs Debian's prometheus, prometheus-alertmanager"
)
def test_both_listen_on_loopback_only_and_keep_their_data_in_the_home(found: TowerState) -> None:
    for command, port in (
        (prometheus.command(found), "prometheus"),
        (prometheus.alertmanager_command(found), "alertmanager"),
    ):
        assert Path(command[0]).is_file()
        assert f"--web.listen-address=127.0.0.1:{found.ports[port]}" in command
        assert any(a.startswith("--storage") and str(found.home) in a for a in command)
    assert "--cluster.listen-address=" in prometheus.alertmanager_command(found)  # else it opens 9094 to all


def test_without_their_binaries_a_tower_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus.shutil, "which", lambda *_, **__: None)
    assert prometheus.programs() is None
