"""One settings class, one prefix: every `MEDTOWER_*` environment variable is a field here."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from medtower.domain.contract import ROLES, Role


class Settings(BaseSettings):
    """Where the parts are. The embedded tower writes these into each process's environment; on the tower systemd and Argo CD do.

    `home` holds the state of this tower. `environment` is the name that approvals are bound to. DSNs are libpq connection strings, each of a
    role that may do no more than its process needs. `bind` is the address that the gateway and the reconciler's metrics listen on; only
    a pod, behind its NetworkPolicy, sets another one than loopback. `approval_roles` (a JSON list) are the roles without which nothing
    serves here, whatever a dossier says of itself. `weights_key` (private, PEM) signs weights when they are registered, `weights_pub` verifies them
    before they serve; the weights of the last `store_keep_releases` releases of a model stay on disk. `forge` is where pull requests are: `forge_url` is the address of GitHub's API or of Gitea
    (or Forgejo), `forge_repository` the OWNER/NAME there, `forge_token` what may write to it.
    """

    model_config = SettingsConfigDict(env_prefix="MEDTOWER_", extra="ignore")

    home: Path = Path(".medtower")
    environment: str = "demo"
    approval_roles: tuple[Role, ...] = Field(ROLES, min_length=1)
    repository: Path | None = None
    trust_root: Path | None = None
    store: Path | None = None
    routing: Path | None = None
    reports: Path | None = None
    mlflow_uri: str = "http://127.0.0.1:5000"
    triton_url: str = "127.0.0.1:8000"
    triton_grpc_url: str = "127.0.0.1:8001"
    triton_admin_key: SecretStr = SecretStr("")
    gateway_url: str = "http://127.0.0.1:8080"
    gateway_key: SecretStr = SecretStr("")
    bind: str = "127.0.0.1"
    gateway_port: int = 8080
    reconciler_port: int = 9180
    subject_key: SecretStr = SecretStr("")
    dsn: SecretStr = SecretStr("")
    spool: Path | None = None
    weights_key: Path | None = None
    weights_pub: Path | None = None
    store_keep_releases: int = Field(5, ge=1, le=1000)
    rollout_key: Path | None = None
    forge: Literal["local", "github", "gitea"] = "local"
    forge_url: str = ""
    forge_repository: str = ""
    forge_token: SecretStr = SecretStr("")

    def path(self, name: str) -> Path:
        """The folder or file called `name` (repository, trust_root, store, routing, reports, spool, weights_key, weights_pub, rollout_key):
        as set, else its place under `home`."""
        places = {
            "repository": "models.git",
            "trust_root": "trust/allowed_signers",
            "store": "store",
            "routing": "routing.json",
            "reports": "reports",
            "spool": "spool/predictions.sqlite",
            "weights_key": "weights_key.pem",
            "weights_pub": "trust/weights_pub.pem",
            "rollout_key": "keys/rollout",
        }
        configured: Path | None = getattr(self, name)
        return (configured or self.home / places[name]).absolute()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
