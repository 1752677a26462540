"""Where things lie in the repository of models: `triton_models/<model>/…` on main, proposals on `promote/<model>-<version>`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from medtower.adapters.git import MAIN, Repository
from medtower.domain.contract import MODEL_NAME, check_model_name
from medtower.domain.release import Release
from medtower.domain.tree import MODELS, PROMOTE
from medtower.errors import Conflict, NotFound, Refused
from medtower.releases import release_file

log = logging.getLogger(__name__)
FOLDER = MODELS
ATTEMPTS = 5
T = TypeVar("T")


def path(model: str, *names: str) -> str:
    """The path inside the repository; raises NameInvalid."""
    return "/".join([FOLDER, check_model_name(model), *names])


def branch(model: str, version: int) -> str:
    return f"{PROMOTE}{check_model_name(model)}-{version}"


def release_at(repository: Repository, ref: str, model: str) -> Release:
    """The release of `model` at `ref`; never released when there is no file."""
    return release_file.parse(repository.read(ref, path(model, release_file.NAME)), model)


def released(repository: Repository, ref: str = MAIN) -> dict[str, Release]:
    """The release of every model at `ref`, by name. What is no model's name is passed over, and so, with a warning, is a release that cannot be
    read: the reconciler tells whoever asks for that model, and the others go on."""
    found = {}
    for entry in repository.entries(f"{ref}:{FOLDER}"):
        if entry.kind == "tree" and MODEL_NAME.fullmatch(entry.path):
            try:
                found[entry.path] = release_at(repository, ref, entry.path)
            except Refused as error:
                log.warning("a release cannot be read", extra={"model": entry.path, "reason": str(error)})
    return found


def require_branch(repository: Repository, model: str, version: int) -> str:
    """The commit that the proposal's branch points at. Raises NotFound."""
    tip = repository.head(branch(model, version))
    if tip is None:
        raise NotFound(
            f"branch {branch(model, version)}",
            str(repository.path),
            f"run: medtower propose {model} {version}",
        )
    return tip


def until_pushed(repository: Repository, action: Callable[[], T]) -> T:
    """Do `action`, and do it again from a fresh look when it raised Conflict because somebody else pushed meanwhile."""
    for _ in range(ATTEMPTS - 1):
        before = repository.git("for-each-ref")
        try:
            return action()
        except Conflict:
            if repository.git("for-each-ref") == before:
                raise
    return action()


@contextmanager
def exported(repository: Repository, ref: str, model: str) -> Iterator[Path]:
    """A throw-away copy of the model's folder at `ref`, named like the model. Raises Refused for links."""
    with tempfile.TemporaryDirectory(prefix="medtower-tree-") as folder:
        place = Path(folder) / check_model_name(model)
        repository.export(f"{ref}:{path(model)}", place)
        yield place
