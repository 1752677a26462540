"""Desired state: what main's head releases of every model and how far its rollout has got, verified against the trust root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from medtower.adapters.git import Repository
from medtower.domain import rollout
from medtower.domain.contract import MODEL_NAME
from medtower.domain.release import Manifest, Release
from medtower.domain.routing import Arm, Route, Shadow
from medtower.errors import MedtowerError, NameInvalid, Refused, Unavailable
from medtower.releases import dossier, policy, release_file
from medtower.serving.golden import Golden
from medtower.workflows import model_tree
from medtower.workflows.reconcile import taken_back
from medtower.workflows.reconcile.memory import Memory, Verified
from medtower.workflows.reconcile.tree_size import check_size
from medtower.workflows.reconcile.trusted import Trusted


@dataclass(frozen=True)
class Desired:
    """What one model should serve.

    `verified` is the released version, None for the release of no model; `incumbent` is what it replaces, while its rollout at `stage` (an
    index into the approved plan) still needs both. `error` says why nothing of this may serve, `doubt` what is wrong with the
    traffic file while the stage is the one that was known last.
    """

    model: str
    release: Release | None
    verified: Verified | None = None
    incumbent: Verified | None = None
    stage: int = 0
    error: MedtowerError | None = None
    doubt: MedtowerError | None = None

    @property
    def version(self) -> int | None:
        return self.release.version if self.release else None

    @property
    def serving(self) -> list[Verified]:
        """Every version that requests should be sent to, the newest first."""
        return [v for v in (self.verified, self.incumbent) if v is not None]

    def route(self) -> Route:
        """The route that says so; without arms for the release of no model."""
        new, old = self.verified, self.incumbent
        if new is None:
            reason = self.release.reason if self.release else ""
            return Route(model=self.model, reason=reason or "no model is released")
        if old is None:
            return Route(model=self.model, arms=[_arm("current", new, 100)])
        weight = new.manifest.rollout.stages[self.stage]
        if weight == 0:
            shadow = Shadow(version=new.version, digest=new.digest, contract=new.contract)
            return Route(model=self.model, arms=[_arm("current", old, 100)], shadow=shadow)
        return Route(
            model=self.model, arms=[_arm("current", old, 100 - weight), _arm("candidate", new, weight)]
        )


def _arm(name: str, verified: Verified, weight: float) -> Arm:
    return Arm.model_validate(
        {
            "name": name,
            "version": verified.version,
            "digest": verified.digest,
            "weight": weight,
            "contract": verified.contract,
        }
    )


class DesiredState:
    """Reads and verifies git's side. A verdict is kept for the same tree and the same state of trust: both are named by their content."""

    def __init__(self, repository: Repository, trusted: Trusted, memory: Memory) -> None:
        self._repository, self._trusted, self._memory = repository, trusted, memory
        self._known: dict[str, tuple[tuple[str, str], Desired]] = {}
        self._seen: str | None = None

    def at(self, commit: str) -> list[Desired]:
        """The desired state of every model at `commit`. Raises Unavailable when git cannot be read; one model's fault is in its own `error`.

        Whoever can push chooses what is read here, so nothing that one model's folder holds may stop the others.
        """
        entries = [e for e in self._repository.entries(f"{commit}:{model_tree.FOLDER}") if e.kind == "tree"]
        trust = self._trusted.look(self._repository, commit)
        self._forget_released_since(commit)
        found = {}
        for entry in entries:
            key = (entry.id, trust)
            known = self._known.get(entry.path)
            found[entry.path] = known if known and known[0] == key else (key, self._read(commit, entry.path))
        self._known = {
            m: kept for m, kept in found.items() if kept[1].error is None and kept[1].doubt is None
        }
        return [desired for _, desired in found.values()]

    def _forget_released_since(self, commit: str) -> None:
        """Keep no verdict of a model that was released, taken back and released again since the last look: its tree is the same as before."""
        before, self._seen = self._seen, commit
        if before is None or before == commit:
            return
        if not self._repository.is_ancestor(before, commit):
            self._known = {}
            return
        for model in taken_back.released_between(self._repository, before, commit):
            self._known.pop(model, None)

    def _read(self, commit: str, model: str) -> Desired:
        if not MODEL_NAME.fullmatch(model):
            return Desired(ascii(model[:80])[1:-1], None, error=NameInvalid(model))
        release: Release | None = None
        try:
            check_size(self._repository, commit, model, release_file.NAME)
            release = model_tree.release_at(self._repository, commit, model)
            if release.version is None:
                return Desired(model, release)
            check_size(self._repository, commit, model)
            taken_back.check(self._repository, commit, release)
            with model_tree.exported(self._repository, commit, model) as folder:
                return self._verified(folder)
        except Exception as error:
            return Desired(model, release, error=_named(model, error))

    def _verified(self, folder: Path) -> Desired:
        release, manifest = policy.evidence(folder)
        if manifest is None:
            return Desired(folder.name, release)
        verified = self._approved(policy.dossier_of(folder, manifest.version), manifest)
        stage, doubt = self._stage(folder, verified)
        last = len(manifest.rollout.stages) - 1
        incumbent = self._incumbent(folder, manifest) if stage < last else None
        return Desired(folder.name, release, verified, incumbent, stage, doubt=doubt)

    def _approved(self, place: Path, manifest: Manifest) -> Verified:
        self._trusted.approve(place, manifest)
        return Verified(
            manifest=manifest,
            config=(place / "config.pbtxt").read_text(),
            contract=dossier.read_contract(place),
            golden=Golden.model_validate_json((place / "golden.json").read_bytes()),
        )

    def _stage(self, folder: Path, verified: Verified) -> tuple[int, MedtowerError | None]:
        """The stage of the rollout; with a traffic file that does not verify, the one it had last (else the first) and what is wrong."""
        plan = verified.manifest.rollout
        try:
            traffic = self._trusted.traffic(folder)
        except Exception as error:
            known = self._memory.stage(verified.digest) or 0
            return min(known, len(plan.stages) - 1), _named(folder.name, error)
        stage = rollout.stage(plan, verified.digest, traffic)
        self._memory.reached(verified.digest, stage)
        return stage, None

    def _incumbent(self, folder: Path, manifest: Manifest) -> Verified:
        """The version that is replaced: as it lies in the same tree when that is not what is remembered, else as remembered."""
        if manifest.replaces is None:
            raise Refused(
                "incumbent", f"{manifest.model} {manifest.version} is rolled out but replaces nothing"
            )
        known = self._memory.get(manifest.model, manifest.replaces)
        place = policy.dossier_of(folder, manifest.replaces)
        if not place.is_dir():
            if known is None:
                what = f"the dossier of version {manifest.replaces}, which {manifest.model} {manifest.version} replaces, is not in the tree"
                raise Refused("incumbent", what)
            return known
        found = dossier.verify(place)
        if (found.model, found.version) != (manifest.model, manifest.replaces):
            raise Refused("incumbent", f"{manifest.model}/dossiers/{manifest.replaces} is of another version")
        if known is not None and known.manifest == found:
            return known
        return self._approved(place, found)


def _named(model: str, error: Exception) -> MedtowerError:
    """The failure as one of ours; what nobody foresaw is refused by the name of its kind."""
    if isinstance(error, MedtowerError):
        return error
    if isinstance(error, ValidationError):
        return Refused("dossier", f"{model}: a document is not what its name says ({error.title})")
    if isinstance(error, OSError):
        return Unavailable("disk", f"{error.strerror} ({model})")
    return Refused("unforeseen", f"{model}: {type(error).__name__} while its folder was read")
