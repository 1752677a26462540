"""The dossier: the evidence for one version, in files that the manifest binds by sha256. An exact list of files, nothing beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medtower.domain.contract import Contract
from medtower.domain.release import BoundFile, Manifest
from medtower.domain.rollout import Plan
from medtower.domain.verdict import Decision, Verdict
from medtower.errors import DigestMismatch, GateFailed, NotFound, Refused
from medtower.releases import canonical, plain_yaml

MANIFEST = "manifest.json"
APPROVALS = "approvals"
VERDICTS = TypeAdapter(list[Verdict])
BOUND = (
    "approval.md",
    "config.pbtxt",
    "evaluation.json",
    "gates.json",
    "golden.json",
    "model.yaml",
    "model_card.md",
)


@dataclass(frozen=True)
class Provenance:
    """Where a version came from: MLflow run (32 hex digits), semantic label, sha256 of the training data, commit of the code, library
    versions, and why it was made. `created_at` in UTC."""

    mlflow_run: str
    label: str
    training_data_sha256: str
    code_commit: str
    dependencies: Mapping[str, str]
    reason: str
    created_at: datetime


def build(
    folder: Path,
    contract: Contract,
    version: int,
    *,
    replaces: int | None,
    weights: Path,
    files: Mapping[str, bytes],
    provenance: Provenance,
    plan: Plan,
) -> Manifest:
    """Write the dossier into `folder` (must not exist) and return its manifest. `files` must be exactly BOUND.

    Raises Refused when a file is missing or too many or the provenance cannot stand in a manifest, GateFailed when a verdict is not PROMOTE.
    """
    if wrong := set(files) ^ set(BOUND):
        raise Refused("dossier", f"{', '.join(sorted(wrong))}: a dossier has exactly {', '.join(BOUND)}")
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = _manifest(
        schema="medtower/manifest/v1",
        model=contract.name,
        version=version,
        label=provenance.label,
        replaces=replaces,
        weights=_bound(weights, "model.onnx"),
        weights_uri=f"models:/{contract.name}/{version}",
        mlflow_run=provenance.mlflow_run,
        files=[_bound(folder / name, name) for name in BOUND],
        training_data_sha256=provenance.training_data_sha256,
        approvals=contract.approvals,
        code_commit=provenance.code_commit,
        dependencies=dict(provenance.dependencies),
        rollout=plan,
        reason=provenance.reason,
        created_at=provenance.created_at,
        proposed_at=datetime.now(UTC).replace(microsecond=0),
    )
    (folder / MANIFEST).write_bytes(render(manifest))
    verify(folder)
    return manifest


def _manifest(**fields: object) -> Manifest:
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(
            "dossier", f"{where} of the new version: {first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from None


def _bound(path: Path, name: str) -> BoundFile:
    return BoundFile(name=name, sha256=canonical.sha256(path), bytes=path.stat().st_size)


def digest(manifest: Manifest) -> str:
    """The release digest: sha256 of the manifest's RFC 8785 form."""
    return canonical.digest(manifest)


def read(folder: Path) -> Manifest:
    """Parse `folder`/manifest.json, unverified. Raises NotFound, or Refused when it is not a manifest in the form that `build` writes."""
    path = folder / MANIFEST
    if not path.is_file():
        raise NotFound(MANIFEST, _place(folder), "propose the version first")
    content = path.read_bytes()
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        where = ", ".join(sorted({".".join(map(str, e["loc"])) or "file" for e in error.errors()})[:3])
        raise Refused("dossier", f"{_place(path)} is not a manifest ({where})") from None
    # one digest, one sequence of bytes: the reviewers' eyes and the hash see the same file
    if content != render(manifest):
        raise Refused(
            "dossier", f"{_place(path)} is not in the form it was written in; restore the signed file"
        )
    return manifest


def render(manifest: Manifest) -> bytes:
    """The bytes of manifest.json."""
    return (manifest.model_dump_json(indent=2, by_alias=True) + "\n").encode()


def read_contract(folder: Path) -> Contract:
    """The contract as trained: the dossier's own model.yaml, bound by the manifest."""
    try:
        return Contract.model_validate(plain_yaml.load((folder / "model.yaml").read_bytes()))
    except ValidationError:
        why = "it breaks the contract's rules"
    except plain_yaml.NotPlain as error:
        why = f"it {error}"
    place = _place(folder / "model.yaml")
    raise Refused("dossier", f"{place} is not a contract: {why}; run: medtower check-contract")


def verify(folder: Path) -> Manifest:
    """Check everything about the dossier that needs no key, and return its manifest.

    Exact list of plain files (no links), every sha256, gates all PROMOTE, and the approval roles of the contract as trained. Raises Refused
    (rule dossier), DigestMismatch, GateFailed, NotFound.
    """
    manifest = read(folder)
    _check_files(folder, manifest)
    for bound in manifest.files:
        actual = canonical.sha256(folder / bound.name)
        if actual != bound.sha256:
            raise DigestMismatch(_place(folder / bound.name), bound.sha256, actual)
    check_gates(manifest.model, manifest.version, (folder / "gates.json").read_bytes())
    contract = read_contract(folder)
    if contract.name != manifest.model or contract.approvals != manifest.approvals:
        raise Refused(
            "dossier", f"{_place(folder)}: name or approval roles of model.yaml and manifest.json differ"
        )
    return manifest


def check_gates(model: str, version: int, content: bytes) -> None:
    """Raise GateFailed unless `content` (gates.json, a list of verdicts) has verdicts and all of them say PROMOTE."""
    try:
        verdicts = VERDICTS.validate_json(content)
    except ValidationError:
        raise Refused("gates", f"gates.json of {model} {version} is not a list of verdicts") from None
    failed = [v.name for v in verdicts if v.decision is not Decision.PROMOTE]
    if failed or not verdicts:
        raise GateFailed(model, version, failed or ["every gate: none was run"])


def _check_files(folder: Path, manifest: Manifest) -> None:
    """Exactly the bound files, the manifest and the approvals of its roles; a link of any kind is refused."""
    if sorted(b.name for b in manifest.files) != sorted(BOUND):
        raise Refused("dossier", f"{_place(folder)}/{MANIFEST} must bind exactly {', '.join(BOUND)}")
    signatures = {f"{role}{end}" for role in manifest.approvals for end in (".json", ".sig")}
    _check_folder(folder, {MANIFEST, *BOUND}, optional={APPROVALS})
    if os.path.lexists(folder / APPROVALS):
        _check_folder(folder / APPROVALS, set(), optional=signatures)


def _check_folder(folder: Path, required: set[str], *, optional: set[str]) -> None:
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise Refused("dossier", f"{_place(folder)} is not a plain directory")
    for path in sorted(folder.iterdir()):
        if path.name not in required | optional:
            raise Refused("dossier", f"{_place(path)} does not belong there; remove it")
        info = path.lstat()
        if path.name != APPROVALS and (not stat.S_ISREG(info.st_mode) or info.st_nlink != 1):
            raise Refused("dossier", f"{_place(path)} is a link or no plain file")
    if missing := sorted(required - {p.name for p in folder.iterdir()}):
        raise Refused("dossier", f"{_place(folder / missing[0])} is missing")


def _place(path: Path) -> str:
    """The path from the model's folder on: what a reader can find in git, wherever this copy lies."""
    parts = path.parts
    return "/".join(parts[parts.index("dossiers") - 1 :]) if "dossiers" in parts[1:] else path.name
