"""Merge an approved proposal: one commit on main that is the promotion, and whose revert is the rollback."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from medtower.adapters.git import MAIN, Checkout, Repository
from medtower.domain.contract import ROLES, Role
from medtower.domain.release import Manifest
from medtower.errors import Conflict, Refused
from medtower.releases import policy, release_file
from medtower.workflows import model_tree

Verify = Callable[[Path], Manifest | None]


def merge(
    repository: Repository,
    model: str,
    version: int,
    allowed_signers: Path,
    environment: str,
    *,
    required: Collection[Role] = ROLES,
) -> str:
    """Return the id of the commit "Promote <model> to <version>". Merging again returns the same commit.

    `required` are the roles that this tower asks for. Raises ApprovalMissing naming the roles, Refused and its kin for whatever policy says,
    Conflict when another promotion or a rollback of this model came first: then it must be proposed and approved again. Other models'
    commits in between do not matter.
    """
    if repository.head(model_tree.branch(model, version)) is None and (
        done := _merged(repository, model, version)
    ):
        return done

    def verified(folder: Path) -> Manifest | None:
        return policy.verify(folder, allowed_signers, environment, required)[1]

    return model_tree.until_pushed(repository, lambda: _merge(repository, model, version, verified))


def _merge(repository: Repository, model: str, version: int, verified: Verify) -> str:
    tip = model_tree.require_branch(repository, model, version)
    with repository.checkout() as work, model_tree.exported(repository, tip, model) as proposed:
        manifest = verified(proposed)
        if manifest is None or manifest.version != version:
            raise Refused("release", f"the branch does not release {model} {version}; propose it again")
        folder = work.folder / model_tree.path(model)
        _check_base(folder, manifest)
        _check_scope(repository, work, tip, manifest)
        _copy(proposed, folder, version)
        verified(folder)  # what is pushed is what is verified
        commit = work.commit(f"Promote {model} to {version}")
        work.push(expected=work.tip, delete=(model_tree.branch(model, version), tip))
    return commit


def _merged(repository: Repository, model: str, version: int) -> str | None:
    """The promotion that is in force already, when it is of this version."""
    if model_tree.release_at(repository, MAIN, model).version != version:
        return None
    return repository.log(MAIN, model_tree.path(model, release_file.NAME), limit=1)[0].id


def _check_base(folder: Path, manifest: Manifest) -> None:
    current = release_file.read(folder).version
    if current != manifest.replaces:
        raise Conflict(
            f"{manifest.model} {manifest.version} replaces {manifest.replaces}, but {current} is released now; "
            f"run medtower propose again, then it must be approved again"
        )


def _check_scope(repository: Repository, work: Checkout, tip: str, manifest: Manifest) -> None:
    """A promotion carries its evidence and nothing else: no other model, no code, no trust root travels with it."""
    folder = model_tree.path(manifest.model)
    allowed = {f"{folder}/{name}" for name in (release_file.NAME, "config.pbtxt", "model.yaml")}
    changed = (
        repository.git("diff", "--name-only", "-z", "--no-renames", f"{work.tip}...{tip}")
        .decode(errors="backslashreplace")
        .split("\0")
    )
    for name in filter(None, changed):
        if name not in allowed and not name.startswith(f"{folder}/dossiers/{manifest.version}/"):
            raise Refused(
                "scope", f"{name} does not belong to the promotion of {manifest.model} {manifest.version}"
            )


def _copy(proposed: Path, folder: Path, version: int) -> None:
    source, target = policy.dossier_of(proposed, version), policy.dossier_of(folder, version)
    if target.exists():
        raise Conflict(f"{folder.name} {version} is on {MAIN} already; a version number is never used twice")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target)
    for name in (release_file.NAME, "config.pbtxt"):
        shutil.copyfile(proposed / name, folder / name)
    if not (folder / "model.yaml").exists():
        shutil.copyfile(source / "model.yaml", folder / "model.yaml")
