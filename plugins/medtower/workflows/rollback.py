"""Roll a model back: `git revert` of the promotion in force. Needs git and nothing else: no MLflow, Airflow, Postgres or approvals."""

from __future__ import annotations

from dataclasses import dataclass

from medtower.adapters.git import MAIN, Commit, Repository, one_line
from medtower.domain.release import Release
from medtower.errors import InvalidInput, NotFound
from medtower.releases import release_file
from medtower.workflows import model_tree


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


def rollback(repository: Repository, model: str, reason: str) -> Rollback:
    """Take back the version that is released now, as a plain `git revert` of its promotion would. `reason` stands in the commit's one line.

    The version's dossier leaves the tree with it; history keeps it. Raises NotFound when nothing is released, InvalidInput without a reason.
    """
    if not one_line(reason):
        raise InvalidInput("reason: say in one line why the version is taken back")
    return model_tree.until_pushed(repository, lambda: _rollback(repository, model, reason))


def _rollback(repository: Repository, model: str, reason: str) -> Rollback:
    current = model_tree.release_at(repository, MAIN, model)
    promotion = _promotion(repository, model, current)
    with repository.checkout() as work:
        work.git("revert", "--no-commit", promotion.id)
        to = release_file.read(work.folder / model_tree.path(model)).version
        what = f"to {to}" if to else "to no model"
        commit = work.commit(f"Roll back {model} from {current.version} {what}: {one_line(reason)}")
        work.push(expected=work.tip)
    return Rollback(model, commit, promotion.id, int(current.version or 0), to)


def _promotion(repository: Repository, model: str, current: Release) -> Commit:
    """The newest commit that brought `current` in force in place of what it replaces; a revert that brought it back is not one."""
    if current.version is not None:
        for commit in repository.log(MAIN, model_tree.path(model, release_file.NAME)):
            if model_tree.release_at(repository, commit.id, model).version == current.version:
                before = repository.git("rev-list", "--parents", "-n", "1", commit.id).decode().split()[1:]
                replaced = model_tree.release_at(repository, before[0], model).version if before else None
                if replaced == current.replaces:
                    return commit
    raise NotFound(f"a promotion of {model}", f"the history of {MAIN}", "no version of it is released")
