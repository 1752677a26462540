"""Propose a version: its dossier and the change of release.yaml, as one commit on a branch of its own."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from medtower.adapters.git import MAIN, Repository
from medtower.adapters.git_checkout import Checkout
from medtower.domain.contract import ROLES, Contract, Role
from medtower.domain.release import Manifest, Release
from medtower.domain.rollout import IMMEDIATE, Plan
from medtower.errors import Conflict, NotFound, Refused
from medtower.releases import dossier, kustomization, policy, release_file
from medtower.releases.dossier import Provenance
from medtower.serving import config, golden
from medtower.training import policy as onnx_policy
from medtower.workflows import compositions, history, model_tree


def propose(
    repository: Repository,
    *,
    contract: Contract,
    version: int,
    weights: Path,
    evidence: Mapping[str, bytes],
    pages: Mapping[str, bytes],
    provenance: Provenance,
    plan: Plan = IMMEDIATE,
    required: Collection[Role] = ROLES,
) -> str:
    """Put `version` with its evidence on the branch promote/<model>-<version>, and return the branch's name.

    `weights` is the ONNX file; `evidence` has evaluation.json, gates.json and model.yaml (the contract as trained), `pages` approval.md and
    model_card.md, `plan` how it takes over, `required` the roles that this tower asks for. The same evidence proposed again changes nothing; a proposal whose base has moved is replaced, and must be approved again.
    Raises NotFound for a model whose contract is not on main, GateFailed when a gate is not PROMOTE, Conflict when the number is used or the branch holds other evidence, Refused when the
    number of inputs changes, the contract lacks a required role, a composition does not fit, or the weights break the rules for ONNX files.
    """
    policy.check_roles(contract.name, contract.approvals, required)
    onnx_policy.inspect(weights)
    dossier.check_gates(contract.name, version, evidence["gates.json"])
    base = model_tree.release_at(repository, MAIN, contract.name)
    _check_unused(repository, contract, version)
    _check_known(repository, contract.name)
    compositions.check_fits(repository, contract)
    name = model_tree.branch(contract.name, version)
    with repository.checkout() as work:
        files = {**evidence, **pages, **_derived(contract, weights)}
        folder = work.folder / model_tree.path(contract.name)
        _check_width(folder, files["config.pbtxt"])
        place = policy.dossier_of(folder, version)
        if place.exists():  # of a release that a deactivation took back: its approvals are of another digest
            shutil.rmtree(place)
        manifest = dossier.build(
            place,
            contract,
            version,
            replaces=base.version,
            weights=weights,
            files=files,
            provenance=provenance,
            plan=plan,
        )
        if _stands(repository, name, manifest):
            return name
        _write_release(folder, manifest, files)
        work.commit(f"Evidence for {contract.name} {version} ({provenance.label})")
        _push(repository, work, name)
    return name


def _derived(contract: Contract, weights: Path) -> dict[str, bytes]:
    answers = golden.make(contract, weights)
    return {
        "golden.json": (answers.model_dump_json(indent=2) + "\n").encode(),
        "config.pbtxt": config.render(contract).encode(),
    }


def _check_unused(repository: Repository, contract: Contract, version: int) -> None:
    if repository.head() is None:
        return
    if any(
        entry.release.version == version for entry in history.ledger(repository, MAIN, contract.name).stack
    ):
        raise Conflict(
            f"{contract.name} {version} is on {MAIN} already; a version number is never used twice"
        )


def _check_known(repository: Repository, model: str) -> None:
    """A contract that came with a promotion would go with its rollback, or be in its way."""
    if repository.read(MAIN, model_tree.path(model, "model.yaml")) is None:
        raise NotFound(
            f"the contract of {model}", f"{MAIN} of {repository.path}", "run: medtower add-model FOLDER"
        )


def _check_width(folder: Path, rendered: bytes) -> None:
    """All versions of one Triton model share one config.pbtxt: with another number of inputs, no version could be kept warm for a rollback."""
    current = folder / "config.pbtxt"
    if release_file.read(folder).version is None or not current.is_file():
        return
    old, new = config.width(current.read_text()), config.width(rendered.decode())
    if old != new:
        raise Refused(
            "inputs",
            f"{folder.name} serves {old} inputs, this version takes {new}; give the new contract a new name",
        )


def _stands(repository: Repository, name: str, manifest: Manifest) -> bool:
    """True when the branch holds the same evidence, base and plan; False when there is none, or one on another base or with another plan."""
    tip = repository.head(name)
    if tip is None:
        return False
    content = repository.read(
        tip, model_tree.path(manifest.model, "dossiers", str(manifest.version), dossier.MANIFEST)
    )
    there = Manifest.model_validate_json(content) if content else None
    if there is None or there.replaces != manifest.replaces or there.rollout != manifest.rollout:
        return False
    if _substance(there) != _substance(manifest):
        raise Conflict(f"{name} holds other evidence for this version; register the weights as a new version")
    return True


def _substance(manifest: Manifest) -> Manifest:
    """The manifest without what is different at every run: the hours, and the pages that tell them."""
    files = [bound for bound in manifest.files if not bound.name.endswith(".md")]
    return manifest.model_copy(update={"created_at": None, "proposed_at": None, "files": files})


def _write_release(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    release = Release(
        model=manifest.model,
        version=manifest.version,
        replaces=manifest.replaces,
        digest=dossier.digest(manifest),
        rollout=manifest.rollout,
        reason=manifest.reason,
    )
    (folder / release_file.NAME).write_bytes(release_file.render(release))
    (folder / "config.pbtxt").write_bytes(files["config.pbtxt"])
    (folder / kustomization.NAME).write_bytes(kustomization.render(manifest.model, manifest))


def _push(repository: Repository, work: Checkout, name: str) -> None:
    stale = repository.head(name)
    if stale:
        repository.git("update-ref", "-d", f"refs/heads/{name}", stale)
    work.push(name, expected=None)
