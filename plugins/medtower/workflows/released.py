"""Which models serve, as git says."""

from __future__ import annotations

from medtower.workflows import model_tree
from medtower.workflows.tower import Tower


def released_models(tower: Tower | None = None) -> list[str]:
    """The names of the models that `main` releases a version of, sorted."""
    repository = (tower or Tower()).repository
    return sorted(
        name for name, release in model_tree.released(repository).items() if release.version is not None
    )
