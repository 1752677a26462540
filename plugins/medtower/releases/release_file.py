"""`release.yaml`: the one file whose change is a promotion, and whose revert is a rollback."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from medtower.domain.release import Release
from medtower.errors import Refused
from medtower.releases import plain_yaml

NAME = "release.yaml"
LARGEST_BYTES = 8192
PLAIN = (str, int, type(None))


def parse(content: bytes | None, model: str) -> Release:
    """The release that `content` states; None (no file) is the release of no model. Raises Refused when it is not one of `model`,
    whatever the bytes are."""
    if content is None:
        return Release(model=model, reason="never released")
    release = _parse(content, model)
    if release.model != model:
        raise Refused("release", f"{model}/{NAME} is of model {release.model}; a release cannot be renamed")
    if (release.version is None) != (release.digest is None):
        raise Refused("release", f"{model}/{NAME} needs both version and digest, or neither")
    return release


def _parse(content: bytes, model: str) -> Release:
    try:
        value = plain_yaml.load(content, largest=LARGEST_BYTES)
        # pydantic would take `version: true` for 1
        if not isinstance(value, dict) or any(
            type(v) not in PLAIN for k, v in value.items() if k != "rollout"
        ):
            raise plain_yaml.NotPlain(
                "holds something else than lines `name: text, number or null`, and `rollout`"
            )
        return Release.model_validate(value)
    except plain_yaml.NotPlain as error:
        why = str(error)
    except ValidationError as error:
        why = ", ".join(sorted({str(e["loc"][0]) if e["loc"] else "file" for e in error.errors()})[:5])
        why = f"wrong or missing: {why}" if why.isprintable() and len(why) < 200 else "it has unknown keys"
    raise Refused("release", f"{model}/{NAME} is not a release ({why})")


def read(folder: Path) -> Release:
    """`folder`/release.yaml; the folder's name is the model's."""
    path = folder / NAME
    if path.is_symlink():
        raise Refused("release", f"{folder.name}/{NAME} is a link")
    if path.exists() and not path.is_file():
        raise Refused("release", f"{folder.name}/{NAME} is no plain file")
    return parse(path.read_bytes() if path.exists() else None, folder.name)


def check_form(folder: Path, release: Release) -> None:
    """Raise Refused unless `folder`/release.yaml is `release` in the form that `render` writes: every byte of it was approved."""
    if (folder / NAME).read_bytes() != render(release):
        raise Refused("release", f"{folder.name}/{NAME} is not in the form it was written in; restore it")


def render(release: Release) -> bytes:
    """The bytes of release.yaml."""
    head = "# What should serve. Changed by a promotion only; `git revert` of that commit is the rollback.\n"
    return (
        head + yaml.safe_dump(release.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    ).encode()
