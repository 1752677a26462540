"""The ledger of a model as main tells it: every content that its release.yaml had, folded from the first commit on."""

from __future__ import annotations

from collections.abc import Sequence

from medtower.adapters import git_history
from medtower.adapters.git import Repository
from medtower.adapters.git_history import Revision
from medtower.domain.release import Release
from medtower.domain.rollout import Traffic
from medtower.errors import Refused
from medtower.releases import release_file, traffic_file
from medtower.releases.ledger import Ledger
from medtower.workflows import model_tree


def ledger(repository: Repository, ref: str, model: str) -> Ledger:
    """What was released of `model` up to `ref`. Raises Refused where history is cut off."""
    state = Ledger(model)
    for revision, release in releases(repository, ref, model):
        state = state.then(release, revision.commit, revision.parent)
    return state


def releases(repository: Repository, ref: str, model: str) -> list[tuple[Revision, Release]]:
    """Every release that `model` had on the way to `ref`, oldest first. A content that is no release changed nothing, as for the reconciler.
    Raises Refused where history is cut off."""
    git_history.check_whole(repository)
    found = git_history.revisions(repository, ref, model_tree.path(model, release_file.NAME))
    return [(r, release) for r in found if (release := _read(r.content, model)) is not None]


def promotions(model: str, told: Sequence[tuple[Revision, Release]]) -> set[str]:
    """The commits among `told` (oldest first) that promoted; the others took back or changed nothing."""
    state, found = Ledger(model), set()
    for revision, release in told:
        if state.depth(release.digest) is None:
            found.add(revision.commit)
        state = state.then(release, revision.commit, revision.parent)
    return found


def _read(content: bytes | None, model: str) -> Release | None:
    try:
        return release_file.parse(content, model)
    except Refused:
        return None


def traffic_at(repository: Repository, ref: str, model: str) -> Traffic | None:
    """How far the rollout had got at `ref`, as it was accepted then; None where nothing says it."""
    try:
        return traffic_file.parse(repository.read(ref, model_tree.path(model, traffic_file.NAME)), model)
    except Refused:
        return None
