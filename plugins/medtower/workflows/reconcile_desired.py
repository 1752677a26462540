"""Desired state: what main's head releases of every model, verified against the trust root."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from medtower.adapters.git import Repository
from medtower.domain.contract import MODEL_NAME, ROLES, Role
from medtower.domain.release import Release
from medtower.errors import MedtowerError, NameInvalid, Refused, Unavailable
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

    def __init__(
        self, repository: Repository, trust_root: Path, environment: str, required: Collection[Role] = ROLES
    ) -> None:
        self._repository, self._trust_root, self._environment = repository, trust_root, environment
        self._required = required
        self._known: dict[str, tuple[tuple[str, str], Desired]] = {}

    def at(self, commit: str) -> list[Desired]:
        """The desired state of every model at `commit`. Raises Unavailable when git cannot be read; one model's fault is in its own `error`.

        Whoever can push chooses what is read here, so nothing that one model's folder holds may stop the others.
        """
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
        if not MODEL_NAME.fullmatch(model):
            return Desired(ascii(model[:80])[1:-1], None, error=NameInvalid(model))
        release: Release | None = None
        try:
            release = model_tree.release_at(self._repository, commit, model)
            with model_tree.exported(self._repository, commit, model) as folder:
                return self._verified(folder)
        except Exception as error:
            return Desired(model, release, error=_named(model, error))

    def _verified(self, folder: Path) -> Desired:
        release, manifest = policy.verify(folder, self._trust_root, self._environment, self._required)
        if manifest is None:
            return Desired(folder.name, release)
        place = policy.dossier_of(folder, manifest.version)
        verified = Verified(
            manifest=manifest,
            config=(place / "config.pbtxt").read_text(),
            contract=dossier.read_contract(place),
        )
        golden = Golden.model_validate_json((place / "golden.json").read_bytes())
        return Desired(folder.name, release, verified, golden)


def _named(model: str, error: Exception) -> MedtowerError:
    """The failure as one of ours; what nobody foresaw is refused by the name of its kind."""
    if isinstance(error, MedtowerError):
        return error
    if isinstance(error, ValidationError):
        return Refused("dossier", f"{model}: a document is not what its name says ({error.title})")
    if isinstance(error, OSError):
        return Unavailable("disk", f"{error.strerror} ({model})")
    return Refused("unforeseen", f"{model}: {type(error).__name__} while its folder was read")
