"""Change who may sign: propose a new trust root, have the quorum of the old one sign, and merge it as a commit of its own.

What git holds is the copy that everybody can read; the trust root that counts at deploy time is installed beside the reconciler, by other hands.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medtower.adapters.git import MAIN, Repository
from medtower.domain.contract import ROLES, Role
from medtower.domain.tree import TRUST, TRUST_ROOT
from medtower.domain.trust import TrustStatement
from medtower.errors import Conflict, NotFound
from medtower.releases import quorum, trust_change
from medtower.workflows import model_tree
from medtower.workflows.check import Rules
from medtower.workflows.squash import squash

BRANCH = "trust/next"


def init(repository: Repository, installed: Path, required: Sequence[Role] = ROLES) -> str:
    """Put the first copy of the `installed` trust root on main and return the commit. Raises Conflict when git has one already."""
    trust_change.check_usable(installed, required)
    with repository.checkout() as work:
        if (work.folder / TRUST_ROOT).exists():
            raise Conflict(f"{MAIN} has {TRUST_ROOT} already; change it with: medtower trust propose FILE")
        _place(work.folder, installed)
        commit = work.commit("Start with this trust root")
        work.push(expected=work.tip)
    return commit


def propose(repository: Repository, file: Path, required: Sequence[Role] = ROLES) -> str:
    """Put `file` as the next trust root on a branch of its own and return the branch's name; an earlier proposal is replaced.

    Raises NotFound before `init`, Refused for a file that is no trust root or leaves a required role without anybody, Conflict when
    nothing changes.
    """
    trust_change.check_usable(file, required)
    with repository.checkout() as work:
        _require(repository, MAIN, "medtower trust init")
        _place(work.folder, file)
        work.commit("Propose another trust root")
        if stale := repository.head(BRANCH):
            repository.git("update-ref", "-d", f"refs/heads/{BRANCH}", stale)
        work.push(BRANCH, expected=None)
    return BRANCH


def approve(
    repository: Repository,
    role: Role,
    *,
    key: Path,
    approver: str,
    environment: str,
    confirm: Callable[[str], None] | None = None,
) -> str:
    """Sign the proposed trust root as `approver` in `role` and return the statement's text. `confirm` is shown what changes and the statement
    before the key is used; it raises to stop."""
    with _old_and_new(repository) as (old, new):
        signed = trust_change.statement(old, new, role, approver, environment)
        if confirm:
            # --text: an attribute that calls the file binary would hide from the signer what changes
            shown = repository.git(
                "diff", "--text", "--no-textconv", "--no-ext-diff", MAIN, BRANCH, "--", TRUST_ROOT
            )
            confirm(shown.decode(errors="backslashreplace") + quorum.text(signed).decode())
    content, signature = trust_change.sign(signed, key)
    model_tree.until_pushed(repository, lambda: _commit(repository, signed, content, signature))
    return content.decode()


def merge(repository: Repository, rules: Rules) -> str:
    """Put the approved trust root on main, as one commit, and return it. Raises Refused and its kin. Then install the file on the tower."""

    def merged() -> str:
        tip = _require(repository, BRANCH, "medtower trust propose FILE")
        with repository.checkout() as work:
            return squash(work, BRANCH, tip, "Change the trust root", rules)

    return model_tree.until_pushed(repository, merged)


def _place(folder: Path, file: Path) -> None:
    """A new trust root lies in git without the approvals of the one before."""
    shutil.rmtree(folder / TRUST, ignore_errors=True)
    (folder / TRUST).mkdir()
    shutil.copyfile(file, folder / TRUST_ROOT)


def _require(repository: Repository, branch: str, hint: str) -> str:
    tip = repository.head(branch)
    if tip is None or repository.read(tip, TRUST_ROOT) is None:
        raise NotFound(TRUST_ROOT, f"branch {branch}", f"run: {hint}")
    return tip


@contextmanager
def _old_and_new(repository: Repository) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="medtower-trust-") as folder:
        paths = Path(folder) / "old", Path(folder) / "new"
        for path, branch, hint in zip(paths, (MAIN, BRANCH), ("init", "propose FILE"), strict=True):
            path.write_bytes(
                repository.read(_require(repository, branch, f"medtower trust {hint}"), TRUST_ROOT) or b""
            )
        yield paths


def _commit(repository: Repository, signed: TrustStatement, content: bytes, signature: bytes) -> None:
    with repository.checkout(BRANCH) as work, _old_and_new(repository) as (old, new):
        again = trust_change.statement(old, new, signed.role, signed.approver, signed.environment)
        if (again.before, again.after) != (signed.before, signed.after):
            raise Conflict("the trust root was changed while it was being signed; read it and approve again")
        place = work.folder / TRUST / trust_change.APPROVALS
        place.mkdir(exist_ok=True)
        (place / f"{signed.role}.json").write_bytes(content)
        (place / f"{signed.role}.sig").write_bytes(signature)
        work.commit(f"Approve the trust root as {signed.role}")
        work.push(expected=work.tip)
