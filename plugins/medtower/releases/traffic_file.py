"""`traffic.yaml` and `traffic.sig`: how far a rollout has got, in the rollout bot's own hand.

A file of its own, so that reverting a promotion never conflicts with the steps that followed it; signed, so that nobody but the bot moves
patients from one version to another, also where only the directory is at hand.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import yaml
from pydantic import ValidationError

from medtower.domain.rollout import Traffic
from medtower.errors import Refused
from medtower.releases import allowed_signers as trust
from medtower.releases import plain_yaml, sshsig

NAME = "traffic.yaml"
SIGNATURE = "traffic.sig"
LARGEST_BYTES = 1 << 16
RULE = "traffic"


def parse(content: bytes | None, model: str) -> Traffic | None:
    """The traffic that `content` states, unverified; None when there is no file. Raises Refused when it is none of `model`."""
    if content is None:
        return None
    try:
        traffic = Traffic.model_validate(plain_yaml.load(content, largest=LARGEST_BYTES))
    except plain_yaml.NotPlain as error:
        raise Refused(RULE, f"{model}/{NAME} {error}") from None
    except ValidationError as error:
        names = sorted({str(e["loc"][0]) if e["loc"] else "file" for e in error.errors()})[:5]
        why = ", ".join(n for n in names if n.isidentifier()) or "unknown keys"
        raise Refused(RULE, f"{model}/{NAME} is not a traffic file (wrong or missing: {why})") from None
    if traffic.model != model:
        raise Refused(RULE, f"{model}/{NAME} is of another model")
    return traffic


def render(traffic: Traffic) -> bytes:
    """The bytes of traffic.yaml."""
    head = "# How far the rollout has got. Written and signed by the rollout bot, one step of the approved plan at a time.\n"
    return (
        head
        + yaml.safe_dump(traffic.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)
    ).encode()


def write(folder: Path, traffic: Traffic, key: Path) -> None:
    """Put `traffic` and its signature by the bot's private `key` into the model's folder."""
    content = render(traffic)
    (folder / NAME).write_bytes(content)
    (folder / SIGNATURE).write_bytes(sshsig.sign(content, key, trust.namespace(trust.ROLLOUT)))


def verify(folder: Path, allowed_signers: Path, *, at: datetime | None = None) -> Traffic | None:
    """The traffic of the model's folder, signed by a key that the trust root has for the rollout bot; None when there is no file.

    Raises Refused when the signature is missing, of another key, or not over these bytes.
    """
    path, beside = folder / NAME, folder / SIGNATURE
    for file in (path, beside):
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise Refused(RULE, f"{folder.name}/{file.name} is no plain file")
    if not path.exists() and not beside.exists():
        return None
    if not path.exists() or not beside.exists():
        raise Refused(RULE, f"{folder.name}: {NAME} and {SIGNATURE} go together; one of them is missing")
    content = path.read_bytes()
    trust.check_signed_by(trust.ROLLOUT, content, beside.read_bytes(), allowed_signers, at=at)
    return parse(content, folder.name)
