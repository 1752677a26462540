"""A change of the trust root: who may sign from then on, approved by those who may sign until then."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from medtower.domain.contract import Role
from medtower.domain.digest import Sha256


class TrustStatement(BaseModel):
    """What a reviewer signs: readable, and bound to the sha256 of the trust root before and after, the environment and the role."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["medtower/trust/v1"] = Field("medtower/trust/v1", alias="schema")
    before: Sha256
    after: Sha256
    environment: str
    role: Role
    approver: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    meaning: str
    signed_at: datetime
    nonce: str = Field(pattern=r"^[0-9a-f]{32}$")
