"""Release policy that needs only a model's directory and the public keys: the same check at merge time, deploy time and in tests."""

from __future__ import annotations

from pathlib import Path

from medtower.domain.contract import check_model_name
from medtower.domain.release import Manifest, Release
from medtower.errors import DigestMismatch, Refused
from medtower.releases import approvals, canonical, dossier, release_file


def verify(model_folder: Path, allowed_signers: Path, environment: str) -> tuple[Release, Manifest | None]:
    """Return what the folder releases and the verified manifest, or (release, None) for the release of no model.

    Raises Refused and its kin, NameInvalid, NotFound. Offline: no network, no MLflow, no git.
    """
    release, manifest = evidence(model_folder)
    if manifest is not None:
        folder = dossier_of(model_folder, manifest.version)
        approvals.verify(folder, manifest, allowed_signers, environment)
    return release, manifest


def evidence(model_folder: Path) -> tuple[Release, Manifest | None]:
    """The part of `verify` that needs no approvals yet: what a reviewer may rely on before signing."""
    check_model_name(model_folder.name)
    if model_folder.is_symlink():
        raise Refused("release", f"{model_folder.name} is a link")
    release = release_file.read(model_folder)
    if release.version is None:
        return release, None
    folder = dossier_of(model_folder, release.version)
    manifest = dossier.verify(folder)
    _check_agreement(release, manifest)
    _check_config(model_folder, folder)
    return release, manifest


def dossier_of(model_folder: Path, version: int) -> Path:
    return model_folder / "dossiers" / str(version)


def _check_agreement(release: Release, manifest: Manifest) -> None:
    digest = dossier.digest(manifest)
    if release.digest != digest:
        raise DigestMismatch(
            f"{release.model}/dossiers/{release.version}/manifest.json", str(release.digest), digest
        )
    for name in ("model", "version", "replaces", "reason"):
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
