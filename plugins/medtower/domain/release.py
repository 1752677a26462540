"""What git says should serve: `release.yaml`, and the manifest that binds a version's evidence by sha256."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from medtower.domain.contract import Role
from medtower.domain.contract_part import Name
from medtower.domain.digest import Sha256
from medtower.domain.rollout import Plan

LARGEST = 2**53 - 1  # beyond it, RFC 8785 has no canonical form


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


Version = Annotated[int, Field(ge=1, le=LARGEST)]
Line = Annotated[str, Field(max_length=500), AfterValidator(_printable)]


class Release(BaseModel):
    """`release.yaml`: the version that should serve, and the plan by which it takes over from `replaces`.

    `version: null` is the release of no model: the gateway answers 503 with `reason`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name
    version: Version | None = None
    replaces: Version | None = None
    digest: Sha256 | None = None
    rollout: Plan | None = None
    reason: Line


class BoundFile(BaseModel):
    """A file of the dossier (or the weights, which live in MLflow) and the sha256 its bytes must have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")
    sha256: Sha256
    bytes: int = Field(ge=0, le=LARGEST)


class Manifest(BaseModel):
    """`manifest.json`. Its RFC 8785 form's sha256 is the release digest. `files` lie beside it; `weights` lie at `weights_uri` in MLflow.

    `proposed_at` makes every proposal a digest of its own: what was rolled back comes back as another digest, which nobody has approved yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["medtower/manifest/v1"] = Field("medtower/manifest/v1", alias="schema")
    model: Name
    version: Version
    label: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    replaces: Version | None
    weights: BoundFile
    weights_uri: str = Field(pattern=r"^models:/[a-z][a-z0-9_]{1,62}/[1-9][0-9]*$")
    mlflow_run: str = Field(pattern=r"^[0-9a-f]{32}$")
    files: list[BoundFile]
    training_data_sha256: Sha256
    approvals: list[Role] = Field(min_length=1)
    code_commit: str
    dependencies: dict[str, str]
    rollout: Plan
    reason: Line
    created_at: datetime
    proposed_at: datetime


class Statement(BaseModel):
    """What a reviewer signs: readable, and bound to one model, version, digest, base, environment and role (21 CFR 11.50)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["medtower/approval/v1"] = Field("medtower/approval/v1", alias="schema")
    model: Name
    version: Version
    digest: Sha256
    replaces: Version | None
    environment: str
    role: Role
    approver: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    meaning: str
    signed_at: datetime
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")
