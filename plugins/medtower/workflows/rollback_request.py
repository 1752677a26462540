"""A rollback asked for in a form: of the version that was seen to be bad, once, however often the request is repeated."""

from __future__ import annotations

from medtower.errors import Conflict
from medtower.workflows import model_tree
from medtower.workflows.take_back import take_back
from medtower.workflows.tower import Tower


def take_back_once(name: str, version: int, reason: str, tower: Tower | None = None) -> str:
    """Take `version` of `name` back when it is what is released; one sentence about what was done. Raises what `take_back` raises."""
    tower = tower or Tower()
    try:
        return str(take_back(tower, name, reason, actor="airflow", version=version))
    except Conflict:
        now = model_tree.release_at(tower.repository, "main", name).version
        if now == version:
            raise
        return f"{name}: version {version} is not released (any more); {f'version {now}' if now else 'no model'} is"
