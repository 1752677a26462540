"""An API key as it is kept: who it is for and what it may, never the secret itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from medtower.domain.access import CallerRole
from medtower.errors import Conflict

KeyId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,39}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,62}$")]
Rate = Annotated[float, Field(gt=0, le=1e6)]
Burst = Annotated[int, Field(ge=1, le=1_000_000)]


class HashedSecret(BaseModel):
    """SHA-256 of a whole key. It counts before `until`: a rotated one for a time of grace, the newest (None) as long as the key does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    until: AwareDatetime | None = None


class ApiKey(BaseModel):
    """`models` None means every model. `rate` (requests a second) and `burst` (requests at once) None mean the settings' own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: KeyId
    role: CallerRole
    models: tuple[ModelName, ...] | None = Field(None, min_length=1)
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    rate: Rate | None = None
    burst: Burst | None = None
    secrets: tuple[HashedSecret, ...] = Field(min_length=1)

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"

    def rotated(self, sha256: str, *, grace: timedelta, now: datetime) -> Self:
        """This key with another secret; the ones before end `grace` from now at the latest. Raises Conflict when the key is over."""
        if (state := self.state(now)) != "valid":
            raise Conflict(f"the key {self.id} is {state}; make a new one with `medtower access new`")
        ends = now + grace
        before = [s.model_copy(update={"until": min(s.until or ends, ends)}) for s in self.secrets]
        going = [s for s in before if s.until is not None and s.until > now]
        return self.model_copy(update={"secrets": (*going, HashedSecret(sha256=sha256))})

    def taken_back(self, now: datetime) -> Self:
        """This key revoked; the first time stays when it was revoked before."""
        return self.model_copy(update={"revoked": self.revoked or now})


class ApiKeys(BaseModel):
    """The whole file. A key that was revoked stays in it: its id stands in records and is never given out again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["medtower/access/v1"] = Field("medtower/access/v1", alias="schema")
    keys: tuple[ApiKey, ...] = ()

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        ids = [key.id for key in self.keys]
        digests = [secret.sha256 for key in self.keys for secret in key.secrets]
        if len(ids) != len(set(ids)) or len(digests) != len(set(digests)):
            raise ValueError("an id or a secret is there twice")
        return self
