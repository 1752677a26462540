"""Release policy that needs only a model's directory and the public keys: the same check at merge time, deploy time and in tests."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from medtower.domain.contract import ROLES, Role, check_model_name
from medtower.domain.release import Manifest, Release
from medtower.errors import DigestMismatch, Refused
from medtower.releases import approvals, canonical, dossier, release_file, steps, traffic_file

MODEL_FILES = frozenset(
    {
        "config.pbtxt",
        "cohort.yaml",
        "dossiers",
        "kustomization.yaml",
        "model.yaml",
        release_file.NAME,
        traffic_file.NAME,
        traffic_file.SIGNATURE,
    }
)
VERSION = re.compile(r"[1-9][0-9]*")


def verify(
    model_folder: Path,
    allowed_signers: Path,
    environment: str,
    required: Collection[Role] = ROLES,
    *,
    at: datetime | None = None,
) -> tuple[Release, Manifest | None]:
    """Return what the folder releases and the verified manifest, or (release, None) for the release of no model.

    `required` are the roles that this tower asks for: a dossier may ask for more, but never decides that fewer are enough. `at` (aware) is
    when the keys must be valid, as somebody trusted knows it; None is now. Raises Refused and its kin, NameInvalid, NotFound. Offline: no
    network, no MLflow, no git.
    """
    release, manifest = evidence(model_folder)
    if manifest is not None:
        check_roles(manifest.model, manifest.approvals, required)
        folder = dossier_of(model_folder, manifest.version)
        approvals.verify(folder, manifest, allowed_signers, environment, at=at)
        if traffic := traffic_file.verify(model_folder, allowed_signers, at=at):
            steps.check(release, traffic)
    return release, manifest


def evidence(model_folder: Path) -> tuple[Release, Manifest | None]:
    """The part of `verify` that needs no approvals yet: what a reviewer may rely on before signing."""
    check_model_name(model_folder.name)
    if model_folder.is_symlink():
        raise Refused("release", f"{model_folder.name} is a link")
    release = release_file.read(model_folder)
    if release.version is None:
        return release, None
    release_file.check_form(model_folder, release)
    folder = dossier_of(model_folder, release.version)
    manifest = dossier.verify(folder)
    _check_agreement(release, manifest)
    _check_config(model_folder, folder)
    _check_files(model_folder)
    return release, manifest


def check_roles(model: str, asked: Collection[Role], required: Collection[Role]) -> None:
    """Raise Refused unless a contract that asks for the approval of `asked` asks for every role in `required`."""
    if missing := [role for role in required if role not in asked]:
        raise Refused(
            "quorum",
            f"the contract of {model} does not ask for the approval of {', '.join(missing)}, without which nothing serves here; "
            f"add it to `approvals:` in model.yaml and train again",
        )


def dossier_of(model_folder: Path, version: int) -> Path:
    return model_folder / "dossiers" / str(version)


def _check_agreement(release: Release, manifest: Manifest) -> None:
    digest = dossier.digest(manifest)
    if release.digest != digest:
        raise DigestMismatch(
            f"{release.model}/dossiers/{release.version}/manifest.json", str(release.digest), digest
        )
    for name in ("model", "version", "replaces", "rollout", "reason"):
        ours, signed = getattr(release, name), getattr(manifest, name)
        if ours != signed:
            raise Refused(
                "release",
                f"{release.model}/release.yaml has another {name} than the signed manifest; restore it",
            )
    if manifest.weights_uri != f"models:/{manifest.model}/{manifest.version}":
        raise Refused(
            "release", f"weights_uri of {manifest.model} {manifest.version} points at another version"
        )


def _check_config(model_folder: Path, folder: Path) -> None:
    path = model_folder / "config.pbtxt"
    if path.is_symlink() or not path.is_file():
        raise Refused("release", f"{model_folder.name}/config.pbtxt is missing or a link")
    expected, actual = canonical.sha256(folder / "config.pbtxt"), canonical.sha256(path)
    if actual != expected:
        raise DigestMismatch(f"{model_folder.name}/config.pbtxt", expected, actual)


def _check_files(model_folder: Path) -> None:
    """Nothing lies beside what is verified: neither files that another reader of the folder would obey, nor half a dossier."""
    inside = model_folder / "dossiers"
    strangers = [p for p in model_folder.iterdir() if p.name not in MODEL_FILES]
    strangers += [p for p in inside.iterdir() if not VERSION.fullmatch(p.name) or not p.is_dir()]
    if strangers:
        name = ascii(str(min(strangers).relative_to(model_folder)))[1:-1]
        raise Refused("release", f"{model_folder.name}/{name} does not belong there; remove it")
