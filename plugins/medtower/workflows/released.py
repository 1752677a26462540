"""Which models serve, as git says."""

from __future__ import annotations

from medtower.releases import release_file
from medtower.workflows.tower import Tower


def released_models(tower: Tower | None = None) -> list[str]:
    """The names of the models that `main` releases a version of, sorted."""
    tower = tower or Tower()
    with tower.models() as models:
        folders = sorted(p.parent for p in models.glob("*/release.yaml"))
        return [f.name for f in folders if release_file.read(f).version is not None]
