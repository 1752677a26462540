"""The rollbacks that main's history tells, by whomever they were made: the verb, the DAG, a rollout's verdict or a plain `git revert`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from medtower.adapters.git import MAIN, Repository
from medtower.releases import release_file
from medtower.releases.ledger import Ledger
from medtower.workflows import history, model_tree


@dataclass(frozen=True)
class TakenBack:
    """One commit that took `versions` back (oldest first), at the time `at` that its committer said.

    `to` None means that no model was released any more. `promoted_by` is the newest promotion that it took back, `followed_by` the commit that
    changed the release next (None: it is what main says).
    """

    model: str
    commit: str
    at: datetime
    subject: str
    versions: tuple[int, ...]
    to: int | None
    promoted_by: str
    followed_by: str | None


def rollbacks(repository: Repository, model: str) -> list[TakenBack]:
    """The rollbacks and deactivations of `model` on main, oldest first. Raises Refused where history is cut off."""
    commits = {c.id: c for c in repository.log(MAIN, model_tree.path(model, release_file.NAME))}
    told = history.releases(repository, MAIN, model)
    state, found = Ledger(model), []
    for i, (revision, release) in enumerate(told):
        depth = state.depth(release.digest)
        if depth is not None and (gone := state.stack[depth:]):
            done = commits[revision.commit]
            versions = tuple(int(entry.release.version or 0) for entry in gone)
            following = told[i + 1][0].commit if i + 1 < len(told) else None
            found.append(
                TakenBack(
                    model,
                    done.id,
                    done.at,
                    done.subject,
                    versions,
                    release.version,
                    gone[-1].commit,
                    following,
                )
            )
        state = state.then(release, revision.commit, revision.parent)
    return found
