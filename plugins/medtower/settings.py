"""One settings class, one prefix: every `MEDTOWER_*` environment variable is a field here."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from medtower.domain.access import CallerRole
from medtower.domain.contract import ROLES, Role


class Settings(BaseSettings):
    """Where the parts are. The embedded tower writes these into each process's environment; on the tower systemd and Argo CD do.

    `home` holds the state of this tower. `environment` is the name that approvals are bound to. DSNs are libpq connection strings, each of a
    role that may do no more than its process needs. `bind` is the address that the gateway and the reconciler's metrics listen on; only
    a pod, behind its NetworkPolicy, sets another one than loopback. `gateway_grpc_port` 0: the gateway speaks HTTP only. `approval_roles` (a JSON list) are the roles without which nothing
    serves here, whatever a dossier says of itself. `weights_key` (private, PEM) signs weights when they are registered, `weights_pub` verifies them
    before they serve; the weights of the last `store_keep_releases` releases of a model stay on disk. `forge` is where pull requests are: `forge_url` is the address of GitHub's API or of Gitea
    (or Forgejo), `forge_repository` the OWNER/NAME there, `forge_token` what may write to it. Who may ask the gateway: the keys in the file
    `access`, and people with tokens of the identity provider `oidc_issuer` that are meant for `oidc_audience`, signed with a key of `oidc_jwks` (an https URL or a
    file); `oidc_role_claim` says their role, in our words or in those that `oidc_roles` (a JSON object) translates, `oidc_models_claim` their models when it is set. A caller
    whose key says nothing else may ask `caller_rate` times a second, `caller_burst` at once. A batch job takes a file of `batch_bytes` and `batch_rows` at most, and is forgotten after `batch_days`. With `tls_certificate` and `tls_key` (PEM) the gateway speaks TLS only.
    What a contract lets be cached lies in Redis at `redis_url` (rediss://, or on this machine), else up to `cache_entries` numbers in the gateway's own
    memory. A `trace_ratio` of the requests is traced to the OpenTelemetry collector at `otlp_url` (https://, or on this machine), none without it. The log
    has every failed request, every one slower than `log_slow_ms`, and up to `log_successes` others a second. Emergencies are told to the `webhooks` (a
    JSON object, name to https URL; `webhook_authority` is the PEM file of the authority that vouches for them); an answer waits `escalation_wait_ms` for that.
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
    gateway_grpc_port: int = 0
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
    batch: Path | None = None
    batch_bytes: int = Field(64 << 20, ge=1024)
    batch_rows: int = Field(1_000_000, ge=1)
    batch_days: float = Field(7, gt=0)
    access: Path | None = None
    caller_rate: float = Field(200, gt=0, le=1e6)
    caller_burst: int = Field(400, ge=1, le=1_000_000)
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_jwks: str = ""
    oidc_role_claim: str = "role"
    oidc_roles: dict[str, CallerRole] = {}
    oidc_models_claim: str = ""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    redis_url: SecretStr = SecretStr("")
    cache_entries: int = Field(100_000, ge=1, le=10_000_000)
    otlp_url: str = ""
    trace_ratio: float = Field(0.01, ge=0, le=1)
    log_successes: int = Field(10, ge=0, le=100_000)
    log_slow_ms: float = Field(500, gt=0)
    webhooks: dict[str, SecretStr] = {}
    webhook_authority: Path | None = None
    escalation_wait_ms: float = Field(300, gt=0, le=10_000)

    def path(self, name: str) -> Path:
        """The folder or file called `name` (repository, trust_root, store, routing, reports, spool, batch, weights_key, weights_pub, rollout_key, access):
        as set, else its place under `home`."""
        places = {
            "repository": "models.git",
            "trust_root": "trust/allowed_signers",
            "store": "store",
            "routing": "routing.json",
            "reports": "reports",
            "spool": "spool/predictions.sqlite",
            "batch": "batch",
            "weights_key": "weights_key.pem",
            "weights_pub": "trust/weights_pub.pem",
            "rollout_key": "keys/rollout",
            "access": "access.json",
        }
        configured: Path | None = getattr(self, name)
        return (configured or self.home / places[name]).absolute()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
