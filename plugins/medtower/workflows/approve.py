"""Approve a proposed version in one role: show the statement, sign it, commit statement and signature to the branch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from medtower.adapters.git import MAIN, Repository
from medtower.domain.contract import Role
from medtower.domain.release import Manifest, Statement
from medtower.errors import ApprovalInvalid, Conflict, Refused
from medtower.releases import approvals, dossier, policy
from medtower.workflows import model_tree


def draft(
    repository: Repository, model: str, version: int, role: Role, *, approver: str, environment: str
) -> Statement:
    """What `approver` would sign now. Raises when the proposal is not whole, not of this version, or its base has moved."""
    with model_tree.exported(
        repository, model_tree.require_branch(repository, model, version), model
    ) as folder:
        manifest = _evidence(folder, version)
        _check_base(repository, manifest)
        _check_other_roles(policy.dossier_of(folder, version), manifest, role, approver)
        return approvals.statement(manifest, role, approver, environment)


def approve(
    repository: Repository,
    model: str,
    version: int,
    role: Role,
    *,
    key: Path,
    approver: str,
    environment: str,
    confirm: Callable[[str], None] | None = None,
) -> str:
    """Sign as `approver` in `role` and return the statement's text. `confirm` is shown the text before the key is used; it raises to stop.

    Approving again replaces the same role's approval. Raises NotFound, Refused and its kin, Conflict when the base has moved.
    """
    signed = draft(repository, model, version, role, approver=approver, environment=environment)
    shown = approvals.text(signed).decode()
    if confirm:
        confirm(shown)
    content, signature = approvals.sign(signed, key)
    # two reviewers may sign at the same moment: whoever comes second commits the same signature on top of the first
    model_tree.until_pushed(repository, lambda: _commit(repository, signed, content, signature))
    return shown


def pending(repository: Repository, model: str, version: int) -> list[Role]:
    """The roles whose approval of the proposal is still missing, in the contract's order."""
    with model_tree.exported(
        repository, model_tree.require_branch(repository, model, version), model
    ) as folder:
        place = policy.dossier_of(folder, version)
        return approvals.absent(place, dossier.read(place))


def _commit(repository: Repository, signed: Statement, content: bytes, signature: bytes) -> None:
    name = model_tree.branch(signed.model, signed.version)
    with repository.checkout(name) as work:
        model_folder = work.folder / model_tree.path(signed.model)
        if dossier.digest(_evidence(model_folder, signed.version)) != signed.digest:
            raise Conflict(f"{name} was replaced while it was being signed; read it and approve again")
        place = policy.dossier_of(model_folder, signed.version) / dossier.APPROVALS
        place.mkdir(exist_ok=True)
        (place / f"{signed.role}.json").write_bytes(content)
        (place / f"{signed.role}.sig").write_bytes(signature)
        work.commit(f"Approve {signed.model} {signed.version} as {signed.role}")
        work.push(expected=work.tip)


def _evidence(folder: Path, version: int) -> Manifest:
    _, manifest = policy.evidence(folder)
    if manifest is None or manifest.version != version:
        raise Refused("release", f"the branch does not release {folder.name} {version}; propose it again")
    return manifest


def _check_base(repository: Repository, manifest: Manifest) -> None:
    current = model_tree.release_at(repository, MAIN, manifest.model).version
    if current != manifest.replaces:
        raise Conflict(
            f"{manifest.model} {manifest.version} was proposed to replace {manifest.replaces}, but {current} is released now; "
            f"run medtower propose again, then it must be approved again"
        )


def _check_other_roles(place: Path, manifest: Manifest, role: Role, approver: str) -> None:
    for other in manifest.approvals:
        path = place / dossier.APPROVALS / f"{other}.json"
        if other != role and path.is_file():
            try:
                signed = Statement.model_validate_json(path.read_bytes())
            except ValidationError:
                raise ApprovalInvalid(
                    other, "its file is not a statement; it must be approved again"
                ) from None
            if signed.approver.casefold() == approver.casefold():
                raise ApprovalInvalid(role, f"{approver} already approved as {other}; another person must")
