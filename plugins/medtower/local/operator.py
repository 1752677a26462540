"""The settings of a person working on an embedded tower's machine: all of its parts, the database as Airflow's role."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from medtower.errors import NotFound
from medtower.local import state
from medtower.settings import Settings


def settings_of(home: Path, *, role: str = "medtower_airflow") -> Settings:
    """Settings that reach the tower at `home`, connecting to Postgres as `role`; plain defaults when no tower was ever started there."""
    home = home.resolve()
    try:
        tower = state.load(home)
    except NotFound:
        return Settings(home=home)
    secrets = state.credentials(home)
    return Settings(
        home=home,
        mlflow_uri=tower.url("mlflow"),
        triton_url=f"127.0.0.1:{tower.ports['triton_http']}",
        triton_grpc_url=f"127.0.0.1:{tower.ports['triton_grpc']}",
        triton_admin_key=SecretStr(secrets.triton_admin),
        gateway_url=tower.url("gateway"),
        gateway_port=tower.ports["gateway"],
        reconciler_port=tower.ports["reconciler"],
        gateway_key=SecretStr(secrets.gateway),
        subject_key=SecretStr(secrets.subject),
        dsn=SecretStr(secrets.dsn(tower, role)),
    )
