"""Roll a model back: `git revert` of the promotion in force. Needs git and nothing else: no MLflow, Airflow, Postgres or approvals."""

from __future__ import annotations

from dataclasses import dataclass

from medtower.adapters.git import MAIN, Repository, one_line
from medtower.errors import Conflict, InvalidInput, NotFound
from medtower.releases import release_file
from medtower.releases.ledger import Entry
from medtower.workflows import history, model_tree


@dataclass(frozen=True)
class Rollback:
    """What was done: `commit` reverts `reverted`; `to` None means that no model is released any more."""

    model: str
    commit: str
    reverted: str
    taken_back: int
    to: int | None

    def __str__(self) -> str:
        back_to = f"version {self.to}" if self.to else "no model"
        return f"{self.model}: version {self.taken_back} is taken back, {back_to} is released (commit {self.commit[:10]})"


def rollback(repository: Repository, model: str, reason: str, *, version: int | None = None) -> Rollback:
    """Take back the version that is released now, as a plain `git revert` of its promotion would. `reason` stands in the commit's one line.

    The version's dossier leaves the tree with it; history keeps it. Raises NotFound when nothing is released, Conflict when `version` is given
    and is not what is released, InvalidInput without a reason.
    """
    if not one_line(reason):
        raise InvalidInput("reason: say in one line why the version is taken back")
    return model_tree.until_pushed(repository, lambda: _rollback(repository, model, reason, version))


def _rollback(repository: Repository, model: str, reason: str, version: int | None) -> Rollback:
    with repository.checkout() as work:
        promoted = _in_force(repository, work.tip or MAIN, model)
        current = promoted.release.version
        if version not in (None, current):
            raise Conflict(
                f"{model} {version} is not released (any more), version {current} is; nothing was taken back"
            )
        work.git("revert", "--no-commit", promoted.commit)
        to = release_file.read(work.folder / model_tree.path(model)).version
        what = f"to {to}" if to else "to no model"
        commit = work.commit(f"Roll back {model} from {current} {what}: {one_line(reason)}")
        work.push(expected=work.tip)
    return Rollback(model, commit, promoted.commit, int(current or 0), to)


def _in_force(repository: Repository, tip: str, model: str) -> Entry:
    """The promotion that brought what is released at `tip`; a revert that brought it back is not one."""
    stack = history.ledger(repository, tip, model).stack
    if not stack:
        raise NotFound(f"a promotion of {model}", f"the history of {MAIN}", "no version of it is released")
    return stack[-1]
