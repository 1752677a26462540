"""How Airflow is set up without a cluster: LocalExecutor, SimpleAuthManager, everything by environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from medtower.errors import Unavailable
from medtower.local.state import Credentials, TowerState, write_private


def airflow_environment(state: TowerState, secrets: Credentials) -> dict[str, str]:
    """The `AIRFLOW__*` settings of this tower's Airflow processes."""
    options = {
        ("database", "sql_alchemy_conn"): secrets.url(state, "airflow"),
        ("core", "executor"): "LocalExecutor",
        ("core", "parallelism"): "4",
        ("core", "load_examples"): "False",
        ("core", "dags_folder"): str(state.source / "dags"),
        ("core", "plugins_folder"): str(state.source / "plugins"),
        ("core", "execution_api_server_url"): state.url("airflow", "/execution/"),
        ("core", "simple_auth_manager_users"): "admin:admin,viewer:viewer",
        ("core", "simple_auth_manager_passwords_file"): str(passwords_file(state.home)),
        ("core", "default_timezone"): "utc",
        ("core", "fernet_key"): "",
        ("api", "base_url"): state.url("airflow"),
        ("api", "host"): "127.0.0.1",
        ("api", "port"): str(state.ports["airflow"]),
        ("api", "workers"): "1",
        ("api", "secret_key"): secrets.airflow_secret,
        ("api_auth", "jwt_secret"): secrets.airflow_jwt,
        ("scheduler", "scheduler_idle_sleep_time"): "0.2",
        ("dag_processor", "refresh_interval"): "60",
        ("logging", "base_log_folder"): str(state.home / "airflow" / "logs"),
    }
    return {
        "AIRFLOW_HOME": str(state.home / "airflow"),
        **{f"AIRFLOW__{s.upper()}__{k.upper()}": v for (s, k), v in options.items()},
    }


def passwords_file(home: Path) -> Path:
    return home / "airflow" / "passwords.json"


def migrate(environment: dict[str, str], secrets: Credentials, home: Path) -> None:
    """Write the password file and bring Airflow's database to this version's schema. Raises Unavailable naming the log."""
    passwords = {"admin": secrets.airflow_admin, "viewer": secrets.airflow_viewer}
    write_private(passwords_file(home), json.dumps(passwords))
    log = home / "logs" / "airflow-migrate.log"
    with log.open("wb") as stream:
        program = [str(Path(sys.executable).parent / "airflow"), "db", "migrate"]
        result = subprocess.run(program, env=environment, stdout=stream, stderr=stream, check=False)
    if result.returncode != 0:
        raise Unavailable("Airflow's database migration", f"it ended with code {result.returncode}", log)
