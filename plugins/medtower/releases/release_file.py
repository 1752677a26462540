"""`release.yaml`: the one file whose change is a promotion, and whose revert is a rollback."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from medtower.domain.release import Release
from medtower.errors import Refused

NAME = "release.yaml"


def parse(content: bytes | None, model: str) -> Release:
    """The release that `content` states; None (no file) is the release of no model. Raises Refused when it is not one of `model`."""
    if content is None:
        return Release(model=model, reason="never released")
    try:
        release = Release.model_validate(yaml.safe_load(content))
    except (ValidationError, yaml.YAMLError) as error:
        where = (
            [".".join(map(str, e["loc"])) for e in error.errors()]
            if isinstance(error, ValidationError)
            else []
        )
        raise Refused(
            "release", f"{model}/{NAME} is not a release ({', '.join(where) or 'not YAML'})"
        ) from None
    if release.model != model:
        raise Refused("release", f"{model}/{NAME} is of model {release.model}; a release cannot be renamed")
    if (release.version is None) != (release.digest is None):
        raise Refused("release", f"{model}/{NAME} needs both version and digest, or neither")
    return release


def read(folder: Path) -> Release:
    """`folder`/release.yaml; the folder's name is the model's."""
    path = folder / NAME
    if path.is_symlink():
        raise Refused("release", f"{folder.name}/{NAME} is a link")
    return parse(path.read_bytes() if path.exists() else None, folder.name)


def render(release: Release) -> bytes:
    """The bytes of release.yaml."""
    head = "# What should serve. Changed by a promotion only; `git revert` of that commit is the rollback.\n"
    return (
        head + yaml.safe_dump(release.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    ).encode()
