"""Roll a model back: what `git revert` of the promotion in force does. Needs git and nothing else: no MLflow, Airflow, Postgres or approvals."""

from __future__ import annotations

from dataclasses import dataclass

from medtower.adapters import git_history
from medtower.adapters.git import MAIN, Repository
from medtower.adapters.git_checkout import Checkout, one_line
from medtower.errors import Conflict, InvalidInput, NotFound
from medtower.releases import changes, release_file
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

    The version's dossier leaves the tree with it; history keeps it. What people wrote meanwhile stays. Raises NotFound when nothing is
    released, Conflict when `version` is given and is not what is released, or when somebody else was first, InvalidInput without a reason.
    """
    if not one_line(reason):
        raise InvalidInput("reason: say in one line why the version is taken back")
    seen = _in_force(repository, MAIN, model)
    if version not in (None, seen.release.version):
        raise _not_released(model, version, seen.release.version)
    return model_tree.until_pushed(repository, lambda: _rollback(repository, model, reason, seen))


def _rollback(repository: Repository, model: str, reason: str, promoted: Entry) -> Rollback:
    """Takes back `promoted` and nothing else, however often it is tried."""
    with repository.checkout(folders=[model_tree.path(model)]) as work:
        now = history.ledger(repository, work.tip or MAIN, model).current
        current = promoted.release.version
        if now is None or now.digest != promoted.release.digest:
            raise _not_released(model, current, now.version if now else None)
        _restore(work, model, promoted)
        to = release_file.read(work.folder / model_tree.path(model)).version
        what = f"to {to}" if to else "to no model"
        commit = work.commit(f"Roll back {model} from {current} {what}: {one_line(reason)}")
        work.push(expected=work.tip)
    return Rollback(model, commit, promoted.commit, int(current or 0), to)


def _restore(work: Checkout, model: str, promoted: Entry) -> None:
    """Bring back what the promotion changed, from the state before it; no merge, so nothing that people wrote can be in its way."""
    place = f"{model_tree.path(model)}/"
    judged = changes.taken_along([promoted.release.version or 0])
    found = git_history.changes(Repository(work.folder), str(work.tip), promoted.before or git_history.EMPTY)
    work.apply(
        c for c in found if c.path.startswith(place) and changes.inside(c.path.removeprefix(place), judged)
    )


def _not_released(model: str, version: int | None, now: int | None) -> Conflict:
    return Conflict(
        f"{model} {version} is not released (any more), {f'version {now}' if now else 'no model'} is; nothing was taken back"
    )


def _in_force(repository: Repository, tip: str, model: str) -> Entry:
    """The promotion that brought what is released at `tip`; a revert that brought it back is not one."""
    stack = history.ledger(repository, tip, model).stack
    if not stack:
        raise NotFound(f"a promotion of {model}", f"the history of {MAIN}", "no version of it is released")
    return stack[-1]
