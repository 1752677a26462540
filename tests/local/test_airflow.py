"""How Airflow is set up for a tower."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medtower.errors import Unavailable
from medtower.local import airflow, ports, processes, state, tower, triton
from medtower.local.state import Credentials, TowerState

ASK = """
import json, os
from airflow.configuration import conf
names = [n.removeprefix("AIRFLOW__").split("__") for n in os.environ if n.startswith("AIRFLOW__")]
known = conf.configuration_description
lost = [n for n in names if n[1].lower() not in known.get(n[0].lower(), {}).get("options", {})]
print(json.dumps({"lost": lost, "executor": conf.get("core", "executor"), "users": conf.get("core", "simple_auth_manager_users")}))
"""


@pytest.fixture
def found(tmp_path: Path) -> TowerState:
    triton.prepare(tmp_path, tower.source_folder() / ".venv-triton")
    numbered = {name: 21000 + i for i, name in enumerate(ports.NAMES)}
    return TowerState(
        home=tmp_path,
        source=tower.source_folder(),
        ports=numbered,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        watched=False,
        groups=tuple(group for group in state.GROUPS if group != "watchers"),
    )


@pytest.fixture
def secrets(found: TowerState) -> Credentials:
    return state.credentials(found.home)


def test_every_setting_is_one_that_airflow_knows(found: TowerState, secrets: Credentials) -> None:
    environment = {**processes.base_environment(), **airflow.airflow_environment(found, secrets)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert answer == {"lost": [], "executor": "LocalExecutor", "users": "admin:admin,viewer:viewer"}


def test_airflow_listens_on_loopback_and_its_log_servers_not_at_all(
    found: TowerState, secrets: Credentials
) -> None:
    environment = airflow.airflow_environment(found, secrets)
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    commands = {p.name: p.argv for p in processes.groups(found, secrets)["airflow"]}
    assert "--skip-serve-logs" in commands["airflow-scheduler"]
    assert "--skip-serve-logs" in commands["airflow-triggerer"]


def test_every_process_of_a_tower_but_postgres_is_waited_for_by_its_health(
    found: TowerState, secrets: Credentials
) -> None:
    every = [p for group in processes.groups(found, secrets).values() for p in group]
    assert {p.name for p in every} >= {"mlflow", "reconciler", "gateway", "airflow-api", "airflow-scheduler"}
    assert [p.name for p in every if p.health is None] == ["postgres"]


def test_no_process_gets_a_secret_that_it_does_not_need(found: TowerState, secrets: Credentials) -> None:
    groups = processes.groups(found, secrets)
    services = {p.name: p for name in ("mlflow", "serving") for p in groups[name]}
    text = {name: json.dumps(p.environment) for name, p in services.items()}
    assert secrets.roles["medtower_gateway"] in text["gateway"]
    for other in (secrets.triton_admin, secrets.roles["medtower_reconciler"], secrets.airflow_admin):
        assert other not in text["gateway"]
    for other in (secrets.gateway, secrets.subject, secrets.roles["medtower_gateway"]):
        assert other not in text["reconciler"]
    assert secrets.triton_admin not in text["mlflow"]
    assert not [p.name for p in services.values() for a in p.argv if secrets.roles["mlflow"] in a]


def test_the_shell_s_own_variables_do_not_reach_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for them")
    monkeypatch.setenv("MEDTOWER_ENVIRONMENT", "elsewhere")
    environment = processes.base_environment()
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert "MEDTOWER_ENVIRONMENT" not in environment
    assert environment["PATH"] == os.environ["PATH"]


def test_a_migration_that_fails_names_its_log_and_the_passwords_are_closed_to_others(
    found: TowerState, secrets: Credentials
) -> None:
    (found.home / "logs").mkdir()
    environment = {**processes.base_environment(), **airflow.airflow_environment(found, secrets)}
    with pytest.raises(Unavailable, match=r"migration.*airflow-migrate\.log"):
        airflow.migrate(environment, secrets, found.home)
    passwords = airflow.passwords_file(found.home)
    assert passwords.stat().st_mode & 0o777 == 0o600
    assert json.loads(passwords.read_text()) == {
        "admin": secrets.airflow_admin,
        "viewer": secrets.airflow_viewer,
    }
