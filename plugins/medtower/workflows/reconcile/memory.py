"""What the reconciler remembers between passes and restarts: what it has verified, when it first did, what served, and how far rollouts were."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from medtower import atomic_file
from medtower.domain.contract import Contract
from medtower.domain.digest import Sha256
from medtower.domain.release import Manifest
from medtower.errors import Refused
from medtower.releases import dossier
from medtower.serving.golden import Golden


class Verified(BaseModel):
    """A version that passed policy when it was released: its manifest, and the config.pbtxt, contract and golden answers signed with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Manifest
    config: str
    contract: Contract
    golden: Golden

    @property
    def version(self) -> int:
        return self.manifest.version

    @property
    def digest(self) -> str:
        """The release digest."""
        return dossier.digest(self.manifest)


class _File(BaseModel):
    """`served` by model, newest first; `verified_at` and `stages` by release digest; `weights` by model and version, for ever."""

    served: dict[str, list[Verified]] = {}
    verified_at: dict[Sha256, datetime] = {}
    stages: dict[Sha256, int] = {}
    weights: dict[str, dict[int, Sha256]] = {}


class Memory:
    """A file beside the store. A lost one costs the warm previous version, the stage while the traffic file is bad, and the times at which
    expired keys still counted.

    Manifests must be kept here: a revert takes the bad version's dossier out of git while that version is still loaded.
    """

    KEPT = 2

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = _File.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            self._file = _File()

    def get(self, model: str, version: int) -> Verified | None:
        return next((v for v in self._file.served.get(model, []) if v.version == version), None)

    def others(self, model: str, versions: Collection[int]) -> list[Verified]:
        """The remembered versions of `model` except `versions`, newest first."""
        return [v for v in self._file.served.get(model, []) if v.version not in versions]

    def serve(self, model: str, serving: Sequence[Verified]) -> None:
        """`serving` (every version that a route names, the newest first) serve from now on. Written only when that is news."""
        versions = {v.version for v in serving}
        kept = [*serving, *self.others(model, versions)][: max(self.KEPT, len(serving))]
        if kept != self._file.served.get(model):
            self._file.served[model] = kept
            self._write()

    def verified_at(self, digest: str) -> datetime | None:
        """When this reconciler first verified the release (or the traffic file) of that sha256; None when it never did."""
        return self._file.verified_at.get(digest)

    def verified(self, digest: str, at: datetime) -> None:
        if digest not in self._file.verified_at:
            self._file.verified_at[digest] = at
            self._write()

    def stage(self, digest: str) -> int | None:
        """The stage that the rollout of the release was at when its traffic file was last right."""
        return self._file.stages.get(digest)

    def reached(self, digest: str, stage: int) -> None:
        if self._file.stages.get(digest) != stage:
            self._file.stages[digest] = stage
            self._write()

    def bind(self, manifest: Manifest) -> None:
        """Tie the version number to these weights for ever. Raises Refused when it is tied to others: a number is never used twice."""
        known = self._file.weights.setdefault(manifest.model, {})
        first = known.get(manifest.version)
        if first is None:
            known[manifest.version] = manifest.weights.sha256
            self._write()
        elif first != manifest.weights.sha256:
            raise Refused(
                "version-number",
                f"{manifest.model} {manifest.version} was released with other weights ({first[:12]}…) before; register these as a new version",
            )

    def _write(self) -> None:
        atomic_file.write(self._path, self._file.model_dump_json(indent=2, by_alias=True), mode=0o600)
