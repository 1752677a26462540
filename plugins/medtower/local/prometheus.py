"""Prometheus and Alertmanager of the embedded tower: Debian's binaries where present, the repository's own rules and routes."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from medtower.local.state import TowerState


def programs() -> tuple[str, str] | None:
    """The paths of prometheus and alertmanager; None unless both are installed (Debian: prometheus, prometheus-alertmanager)."""
    search = "/usr/bin:/usr/local/bin:/usr/sbin"
    prometheus = shutil.which("prometheus") or shutil.which("prometheus", path=search)
    alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    return (prometheus, alertmanager) if prometheus and alertmanager else None


def _program(index: int) -> str:
    found = programs()
    return found[index] if found else ""


def write_configuration(state: TowerState) -> Path:
    """Write prometheus.yml for this tower's ports; the rules stay where they are in the repository."""

    def job(name: str, target: str, **more: str) -> dict[str, object]:
        return {
            "job_name": name,
            "static_configs": [{"targets": [f"127.0.0.1:{state.ports[target]}"]}],
            **more,
        }

    configuration = {
        "global": {"scrape_interval": "5s", "evaluation_interval": "15s"},
        "rule_files": [str(state.source / "monitoring/prometheus/rules/*.yml")],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{state.ports['alertmanager']}"]}]}]
        },
        "scrape_configs": [
            job("prometheus", "prometheus"),
            job("alertmanager", "alertmanager"),
            job("gateway", "gateway"),
            job("reconciler", "reconciler"),
            job("triton", "triton_metrics"),
        ],
    }
    path = state.home / "prometheus" / "prometheus.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    return path


def command(state: TowerState) -> list[str]:
    return [
        _program(0),
        f"--config.file={write_configuration(state)}",
        f"--storage.tsdb.path={state.home / 'prometheus' / 'data'}",
        f"--web.listen-address=127.0.0.1:{state.ports['prometheus']}",
        "--storage.tsdb.retention.time=15d",
    ]


def alertmanager_command(state: TowerState) -> list[str]:
    return [
        _program(1),
        f"--config.file={state.source / 'monitoring/alertmanager/alertmanager.yml'}",
        f"--storage.path={state.home / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{state.ports['alertmanager']}",
        "--cluster.listen-address=",
    ]
