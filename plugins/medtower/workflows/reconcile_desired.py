"""Desired state: what main's head releases of every model, verified against the trust root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from medtower.adapters.git import Repository
from medtower.domain.release import Release
from medtower.errors import MedtowerError, Refused
from medtower.releases import canonical, dossier, policy
from medtower.serving.golden import Golden
from medtower.workflows import model_tree
from medtower.workflows.reconcile_memory import Verified


@dataclass(frozen=True)
class Desired:
    """What one model should serve. `verified` and `golden` are None for the release of no model, `error` says why it may not serve."""

    model: str
    release: Release | None
    verified: Verified | None = None
    golden: Golden | None = None
    error: MedtowerError | None = None

    @property
    def version(self) -> int | None:
        return self.release.version if self.release else None


class DesiredState:
    """Reads and verifies git's side. A verdict is kept for the same tree and the same trust root: both are named by their content."""

    def __init__(self, repository: Repository, trust_root: Path, environment: str) -> None:
        self._repository, self._trust_root, self._environment = repository, trust_root, environment
        self._known: dict[str, tuple[tuple[str, str], Desired]] = {}

    def at(self, commit: str) -> list[Desired]:
        """The desired state of every model at `commit`. Raises Unavailable when git cannot be read; one model's fault is in its own `error`."""
        entries = [e for e in self._repository.entries(f"{commit}:{model_tree.FOLDER}") if e.kind == "tree"]
        trust = canonical.sha256(self._trust_root) if self._trust_root.is_file() else ""
        found = {}
        for entry in entries:
            key = (entry.id, trust)
            known = self._known.get(entry.path)
            found[entry.path] = known if known and known[0] == key else (key, self._read(commit, entry.path))
        self._known = {m: kept for m, kept in found.items() if kept[1].error is None}
        return [desired for _, desired in found.values()]

    def _read(self, commit: str, model: str) -> Desired:
        release: Release | None = None
        try:
            release = model_tree.release_at(self._repository, commit, model)
            with model_tree.exported(self._repository, commit, model) as folder:
                release, manifest = policy.verify(folder, self._trust_root, self._environment)
                if manifest is None:
                    return Desired(model, release)
                place = policy.dossier_of(folder, manifest.version)
                config = (place / "config.pbtxt").read_text()
                golden = Golden.model_validate_json((place / "golden.json").read_bytes())
                return Desired(
                    model,
                    release,
                    Verified(manifest=manifest, config=config, contract=dossier.read_contract(place)),
                    golden,
                )
        except MedtowerError as error:
            return Desired(model, release, error=error)
        except ValidationError as error:
            wrong = Refused("dossier", f"{model}: a document is not what its name says ({error.title})")
            return Desired(model, release, error=wrong)
