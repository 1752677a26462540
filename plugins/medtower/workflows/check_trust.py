"""The trust root at merge time: which one a commit is judged by, and whether a commit may change its copy in git."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medtower.adapters import git_history
from medtower.adapters.git import Repository
from medtower.adapters.git_history import Step
from medtower.domain.contract import Role
from medtower.domain.tree import TRUST, TRUST_ROOT
from medtower.errors import NotFound
from medtower.releases import allowed_signers, trust_change


@contextmanager
def roots(repository: Repository, commit: str, installed: Path | None) -> Iterator[list[Path]]:
    """The trust roots that must all agree at `commit`: the copy in git, and the installed one where there is one. The installed revocations
    count for both. Raises NotFound without either."""
    found = [installed] if installed and installed.is_file() else []
    copy = repository.read(commit, TRUST_ROOT)
    with tempfile.TemporaryDirectory(prefix="medtower-trust-") as folder:
        if copy is not None and not (found and found[0].read_bytes() == copy):
            found.append(_written(Path(folder), copy, found))
        if not found:
            raise NotFound("the trust root", TRUST_ROOT, "run: medtower trust init")
        yield found


def _written(folder: Path, copy: bytes, beside: list[Path]) -> Path:
    path = folder / trust_change.NAME
    path.write_bytes(copy)
    for other in beside:
        revoked = other.with_name(allowed_signers.REVOKED)
        if revoked.is_file():
            path.with_name(allowed_signers.REVOKED).write_bytes(revoked.read_bytes())
    return path


def check(
    repository: Repository, step: Step, environment: str, required: Sequence[Role], installed: Path | None
) -> None:
    """Raise Refused and its kin unless the step may change `trust/`: by the quorum of the trust root before it, or as the first copy of the
    installed one."""
    names = [entry.path for entry in repository.entries(f"{step.commit}:{TRUST}", recursive=True)]
    trust_change.check_files(names, required)
    old = repository.read(step.parent, TRUST_ROOT)
    with tempfile.TemporaryDirectory(prefix="medtower-trust-") as folder:
        new = Path(folder) / "new"
        repository.export(f"{step.commit}:{TRUST}", new)
        if old is None:
            trust_change.check_first(new / trust_change.NAME, installed)
            return
        before = Path(folder) / "old"
        before.mkdir()
        written = _written(before, old, [installed] if installed else [])
        statements = trust_change.verify(written, new, environment, required)
    trust_change.check_fresh(statements, _former(repository, step.parent, required))


def _former(repository: Repository, commit: str, roles: Sequence[Role]) -> list[bytes]:
    """Every statement about the trust root that main had on the way to `commit`."""
    places = [f"{TRUST}/{trust_change.APPROVALS}/{role}.json" for role in roles]
    return [r.content for p in places for r in git_history.revisions(repository, commit, p) if r.content]


def check_seed(repository: Repository, commit: str, installed: Path | None) -> None:
    """Raise Refused when a repository begins with a copy of another trust root than the installed one."""
    copy = repository.read(commit, TRUST_ROOT)
    if copy is not None:
        with tempfile.TemporaryDirectory(prefix="medtower-trust-") as folder:
            trust_change.check_first(_written(Path(folder), copy, []), installed)
