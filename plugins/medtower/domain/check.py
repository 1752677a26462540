"""One thing that was looked at: passed, failed, or not known."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Check(BaseModel):
    """`passed` None says that there were not the data (or the part was down), which is neither good nor bad. `told` is one clause."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    passed: bool | None
    told: str

    def __str__(self) -> str:
        return f"{self.name}: {'not known' if self.passed is None else 'passed' if self.passed else 'FAILED'} ({self.told})"
