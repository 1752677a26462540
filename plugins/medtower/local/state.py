"""The one file that says where a tower's parts are, and the secrets file beside it (mode 600)."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from medtower import atomic_file
from medtower.adapters import api_keys, weights
from medtower.domain.api_key import ApiKey, HashedSecret
from medtower.errors import Conflict, NotFound
from medtower.settings import Settings

# each under a supervisor of its own: what ends takes its group with it and no other
GROUPS = ("postgres", "triton", "mlflow", "serving", "watchers", "airflow")
DATABASE_ROLES = (
    "airflow",
    "mlflow",
    "medtower_owner",
    "medtower_gateway",
    "medtower_airflow",
    "medtower_reconciler",
    "medtower_reader",
)

CLIENTS = "medtower"
"""The id of the key that the gateway's own clients present."""

File = TypeVar("File", bound=BaseModel)


class TowerState(BaseModel):
    """`state.json`: ports by name, which groups of processes were started, and whether Prometheus watches them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    source: Path
    ports: dict[str, int]
    started_at: datetime
    watched: bool
    groups: tuple[str, ...] = GROUPS

    def url(self, name: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[name]}{path}"


class Credentials(BaseModel):
    """Generated once per home; never in git, never in a log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    postgres: str
    roles: dict[str, str]
    airflow_admin: str
    airflow_viewer: str
    airflow_secret: str
    airflow_jwt: str
    triton_admin: str
    gateway: str
    subject: str

    def dsn(self, state: TowerState, role: str, database: str = "medtower") -> str:
        password = self.postgres if role == "postgres" else self.roles[role]
        return (
            f"host=127.0.0.1 port={state.ports['postgres']} dbname={database} user={role} password={password}"
        )

    def url(self, state: TowerState, role: str) -> str:
        """The SQLAlchemy URL of the database called like its owning role."""
        return f"postgresql+psycopg2://{role}:{self.roles[role]}@127.0.0.1:{state.ports['postgres']}/{role}"


def write_private(path: Path, text: str) -> None:
    """Write `text` whole or not at all, and so that no other user can read it at any moment."""
    atomic_file.write(path, text, mode=0o600)


def credentials(home: Path) -> Credentials:
    """The credentials of this home, generated at the first call. Raises Conflict when the file is not one of this release."""
    path = home / "secrets.json"
    if path.exists():
        return _parse(Credentials, path)
    made = Credentials(
        roles={role: secrets.token_hex(16) for role in DATABASE_ROLES},
        gateway=api_keys.new_secret(CLIENTS),
        **{n: secrets.token_hex(24) for n in Credentials.model_fields if n not in ("roles", "gateway")},
    )
    write_private(path, made.model_dump_json(indent=2))
    return made


def weights_keys(home: Path) -> None:
    """Have the key pair of this home that signs weights, and verifies them (the places that Settings know)."""
    chosen = Settings.model_construct(home=home)  # its own places, whatever this process was told
    weights.generate(chosen.path("weights_key"), chosen.path("weights_pub"))


def gateway_key(home: Path, secrets: Credentials) -> None:
    """Have the gateway of this home know the key of our own clients (demo, DAGs, smoke tests): an administrator's, who may ask without end."""
    key = ApiKey(
        id=CLIENTS,
        role="admin",
        created=datetime.now(UTC),
        rate=1e6,
        burst=1_000_000,
        secrets=(HashedSecret(sha256=api_keys.digest(secrets.gateway)),),
    )
    api_keys.register(Settings.model_construct(home=home).path("access"), key)


def save(state: TowerState) -> None:
    write_private(state.home / "state.json", json.dumps(state.model_dump(mode="json"), indent=2))


def load(home: Path) -> TowerState:
    """The state of the tower at `home`; raises NotFound when there is none, Conflict when the file is not one of this release."""
    path = home / "state.json"
    if not path.exists():
        raise NotFound("a tower", str(home), "start one with `make up` or `make demo`")
    return _parse(TowerState, path)


def _parse(kind: type[File], path: Path) -> File:
    try:
        return kind.model_validate_json(path.read_text())
    except ValidationError:  # its text would repeat what stands in the file
        raise Conflict(
            f"{path} is not a file of this release; stop the tower with `medtower down` and move {path.parent} away"
        ) from None
