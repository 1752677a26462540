"""What was taken back does not return. The hook at the repository's door sees to that; main may come from a forge, which asks nothing."""

from __future__ import annotations

import logging
import os

from medtower.adapters import git_history
from medtower.adapters.git import Repository
from medtower.domain.release import Release
from medtower.errors import Refused
from medtower.releases import release_file
from medtower.workflows import history, model_tree

log = logging.getLogger(__name__)


def check(repository: Repository, commit: str, release: Release) -> None:
    """Raise Refused when `release`, which `commit` has, was taken back on the way there. Where history is cut off that is not known, and said."""
    try:
        git_history.check_whole(repository)
    except Refused as error:
        extra = {"model": release.model, "version": release.version, "reason": str(error)}
        log.warning("whether the version was taken back before is not known", extra=extra)
        return
    if release.digest in history.ledger(repository, commit, release.model).taken_back:
        said = f"{release.model} {release.version}"
        raise Refused(
            "taken-back",
            f"{said} was taken back, and what was taken back does not return as it was; revert the commit that released it again, "
            f"or run: medtower propose {said}, then it must be approved again",
        )


def released_between(repository: Repository, old: str, new: str) -> set[str]:
    """The models whose release.yaml was touched after `old` and up to `new`, also those that are again as they were."""
    pattern = f":(glob){model_tree.FOLDER}/*/{release_file.NAME}"
    flags = ("--first-parent", "--diff-merges=first-parent", "--no-renames", "--format=", "--name-only", "-z")
    out = os.fsdecode(repository.git("log", *flags, f"{old}..{new}", "--", pattern))
    return {path.split("/")[1] for path in out.split("\0") if path}
