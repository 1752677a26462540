"""Take a model out of service: one commit that releases no model. Needs git and nothing else, as a rollback does."""

from __future__ import annotations

from medtower.adapters.git import MAIN, Repository
from medtower.adapters.git_checkout import one_line
from medtower.domain.release import Release
from medtower.errors import Conflict, InvalidInput
from medtower.releases import release_file
from medtower.workflows import model_tree


def deactivate(repository: Repository, model: str, reason: str) -> str:
    """Release no model in place of what is released now, and return the commit. The gateway answers 503 with `reason`.

    The dossiers stay. What was released is taken back for ever: to bring it back, propose it anew. Raises Conflict when nothing is released,
    InvalidInput without a reason.
    """
    if not one_line(reason):
        raise InvalidInput("reason: say in one line why no version may serve")
    return model_tree.until_pushed(repository, lambda: _deactivate(repository, model, one_line(reason)))


def _deactivate(repository: Repository, model: str, reason: str) -> str:
    with repository.checkout() as work:
        current = model_tree.release_at(repository, work.tip or MAIN, model)
        if current.version is None:
            raise Conflict(f"{model} is released as no model already: {current.reason}")
        release = Release(model=model, reason=reason)
        place = work.folder / model_tree.path(model, release_file.NAME)
        place.write_bytes(release_file.render(release))
        commit = work.commit(f"Deactivate {model}: {reason}")
        work.push(expected=work.tip)
    return commit
