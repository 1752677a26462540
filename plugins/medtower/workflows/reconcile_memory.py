"""What the reconciler remembers between passes and restarts: which versions it has verified and served, and what they must hash to."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from medtower.domain.contract import Contract
from medtower.domain.release import Manifest


class Verified(BaseModel):
    """A version that passed policy when it was released: its manifest, and the config.pbtxt and contract that were signed with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Manifest
    config: str
    contract: Contract

    @property
    def version(self) -> int:
        return self.manifest.version


class _File(BaseModel):
    served: dict[str, list[Verified]] = {}


class Memory:
    """The last two versions that served, by model, newest first, in a file beside the store.

    The manifest must be kept here: a revert takes the bad version's dossier out of git while that version is still loaded. A lost file costs
    the warm previous version and nothing else.
    """

    KEPT = 2

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._served = _File.model_validate_json(path.read_bytes()).served
        except (FileNotFoundError, ValidationError):
            self._served = {}

    def get(self, model: str, version: int) -> Verified | None:
        return next((v for v in self._served.get(model, []) if v.version == version), None)

    def others(self, model: str, *versions: int | None) -> list[Verified]:
        """The remembered versions of `model` except `versions`, newest first."""
        return [v for v in self._served.get(model, []) if v.version not in versions]

    def serves(self, model: str, verified: Verified) -> None:
        """`verified` serves from now on. Written only when that is news."""
        kept = [verified, *self.others(model, verified.version)][: self.KEPT]
        if kept != self._served.get(model):
            self._served[model] = kept
            self._write()

    def _write(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with temporary.open("w") as stream:
            stream.write(_File(served=self._served).model_dump_json(indent=2, by_alias=True))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._path)
