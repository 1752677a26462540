"""Policy on a real signed dossier: what is whole passes, and every change is refused with the place that broke."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.fixtures.releases import ENVIRONMENT, ROLES, World, make_key, signer_line

from medtower.domain.contract import Role
from medtower.domain.release import BoundFile, Manifest, Release
from medtower.errors import (
    ApprovalInvalid,
    ApprovalMissing,
    DigestMismatch,
    MedtowerError,
    NotFound,
    Refused,
)
from medtower.releases import approvals, canonical, dossier, policy, release_file

Approved = tuple[World, Path]


@pytest.fixture
def tree(approved: Approved, tmp_path: Path) -> Path:
    return Path(shutil.copytree(approved[1], tmp_path / "sum_model"))


def verify(approved: Approved, tree: Path, environment: str = ENVIRONMENT) -> Manifest | None:
    return policy.verify(tree, approved[0].trust_root, environment)[1]


def resign(approved: Approved, tree: Path, role: Role, *, key: Path | None = None, **changes: object) -> None:
    """Sign `role`'s statement anew, with changes that a forger would make."""
    place = tree / "dossiers" / "1"
    signed = approvals.statement(dossier.read(place), role, World.person(role), ENVIRONMENT).model_copy(
        update=changes
    )
    content, signature = approvals.sign(signed, key or approved[0].keys[role])
    (place / "approvals" / f"{role}.json").write_bytes(content)
    (place / "approvals" / f"{role}.sig").write_bytes(signature)


def test_an_approved_release_passes_offline(approved: Approved, tree: Path) -> None:
    release, manifest = policy.verify(tree, approved[0].trust_root, ENVIRONMENT)
    assert release.version == 1 and manifest is not None
    assert release.digest == dossier.digest(manifest)


def test_the_release_of_no_model_needs_no_dossier(approved: Approved, tmp_path: Path) -> None:
    folder = tmp_path / "sum_model"
    folder.mkdir()
    assert policy.verify(folder, approved[0].trust_root, ENVIRONMENT)[1] is None
    (folder / "release.yaml").write_text("model: sum_model\nversion: null\nreason: withdrawn\n")
    release, manifest = policy.verify(folder, approved[0].trust_root, ENVIRONMENT)
    assert (release.reason, manifest) == ("withdrawn", None)


def _extra(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")


def _missing(folder: Path) -> None:
    (folder / "evaluation.json").unlink()


def _renamed(folder: Path) -> None:
    (folder / "golden.json").rename(folder / "silver.json")


def _symlink(folder: Path) -> None:
    (folder / "gates.json").rename(folder.parent / "elsewhere.json")
    (folder / "gates.json").symlink_to(folder.parent / "elsewhere.json")


def _hard_link(folder: Path) -> None:
    os.link(folder / "gates.json", folder.parent / "elsewhere.json")


def _extra_approval(folder: Path) -> None:
    shutil.copyfile(folder / "approvals" / "final.sig", folder / "approvals" / "owner.sig")


def _linked_folder(folder: Path) -> None:
    (folder / "approvals").rename(folder.parent / "approvals-elsewhere")
    (folder / "approvals").symlink_to(folder.parent / "approvals-elsewhere")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_extra, "notes.txt does not belong"),
        (_missing, "evaluation.json is missing"),
        (_renamed, "silver.json does not belong"),
        (_symlink, "gates.json is a link"),
        (_hard_link, "gates.json is a link"),
        (_extra_approval, "approvals/owner.sig does not belong"),
        (_linked_folder, "approvals is not a plain directory"),
    ],
)
def test_a_dossier_with_other_files_is_refused_naming_the_file(
    approved: Approved, tree: Path, spoil: Callable[[Path], None], named: str
) -> None:
    spoil(tree / "dossiers" / "1")
    with pytest.raises(Refused, match=named):
        verify(approved, tree)


@pytest.mark.untraced
def test_10_of_a_thousand_changed_bytes_none_is_accepted(rolling: Approved, tmp_path: Path) -> None:
    """Anywhere in what is released and how far it has got: dossier, signatures, release, configuration, traffic."""
    tree = Path(shutil.copytree(rolling[1], tmp_path / "sum_model"))
    rng = np.random.default_rng(20260101)
    names = ("release.yaml", "config.pbtxt", "traffic.yaml", "traffic.sig")
    files = sorted(p for p in (tree / "dossiers" / "2").rglob("*") if p.is_file()) + [tree / n for n in names]
    accepted = []
    for attempt in range(1000):
        path = files[attempt % len(files)]
        whole = path.read_bytes()
        spoilt = bytearray(whole)
        place, bit = int(rng.integers(len(whole))), int(rng.integers(8))
        spoilt[place] ^= 1 << bit
        path.write_bytes(spoilt)
        try:
            verify(rolling, tree)
            accepted.append(f"{path.name}: byte {place}, bit {bit}")
        except MedtowerError:
            path.write_bytes(whole)
    assert accepted == []
    assert verify(rolling, tree) is not None


@pytest.mark.parametrize("name", ["release.yaml", "traffic.yaml"])
@pytest.mark.parametrize("more", ["\n", "# a comment\n", "...\n"])
def test_12_what_reads_the_same_but_is_written_otherwise_is_refused(
    rolling: Approved, tmp_path: Path, name: str, more: str
) -> None:
    tree = Path(shutil.copytree(rolling[1], tmp_path / "sum_model"))
    with (tree / name).open("a") as file:
        file.write(more)
    with pytest.raises(Refused):
        verify(rolling, tree)


def test_an_approval_counts_at_the_time_that_somebody_trusted_names(
    approved: Approved, tree: Path, tmp_path: Path
) -> None:
    path = tmp_path / "trust"
    path.write_text(
        approved[0]
        .trust_root.read_text()
        .replace('"medtower-final"', '"medtower-final",valid-before="20260301Z"')
    )
    with pytest.raises(ApprovalInvalid, match="valid-before"):
        policy.verify(tree, path, ENVIRONMENT, at=datetime(2026, 4, 1, tzinfo=UTC))
    assert policy.verify(tree, path, ENVIRONMENT, at=datetime(2026, 2, 1, tzinfo=UTC))[1] is not None


def test_white_space_in_the_manifest_or_around_a_signature_counts_as_a_change(
    approved: Approved, tree: Path
) -> None:
    for name in ("manifest.json", "approvals/final.sig", "approvals/final.json"):
        path = tree / "dossiers" / "1" / name
        whole = path.read_bytes()
        path.write_bytes(whole + b"\n")
        with pytest.raises(Refused):
            verify(approved, tree)
        path.write_bytes(whole)


def test_a_release_edited_after_approval_is_refused(approved: Approved, tree: Path) -> None:
    path = tree / "release.yaml"
    whole = path.read_text()
    for old, new, error in (
        ("version: 1", "version: 2", NotFound),
        ("replaces: null", "replaces: 7", Refused),
        ("reason: first version", "reason: urgent", Refused),
        ("digest: ", "digest: f", Refused),
    ):
        path.write_text(whole.replace(old, new))
        assert path.read_text() != whole
        with pytest.raises(error):
            verify(approved, tree)
    path.write_text(whole.replace("digest: '", "digest: ").replace("model: sum_model", "model: other_model"))
    with pytest.raises(Refused, match="cannot be renamed"):
        verify(approved, tree)


def test_another_digest_in_the_release_is_a_mismatch(approved: Approved, tree: Path) -> None:
    digest = dossier.digest(dossier.read(tree / "dossiers" / "1"))
    path = tree / "release.yaml"
    path.write_text(path.read_text().replace(digest, "f" * 64))
    with pytest.raises(DigestMismatch, match=r"manifest\.json"):
        verify(approved, tree)


def test_a_renamed_model_is_refused(approved: Approved, tree: Path) -> None:
    renamed = tree.rename(tree.parent / "other_model")
    release = renamed / "release.yaml"
    release.write_text(release.read_text().replace("sum_model", "other_model"))
    with pytest.raises(Refused, match="another model"):
        verify(approved, renamed)


def test_config_pbtxt_must_be_the_signed_one(approved: Approved, tree: Path) -> None:
    (tree / "config.pbtxt").write_text((tree / "config.pbtxt").read_text().replace("1024", "1025"))
    with pytest.raises(DigestMismatch, match=r"sum_model/config\.pbtxt"):
        verify(approved, tree)


def test_a_missing_approval_names_the_role(approved: Approved, tree: Path) -> None:
    (tree / "dossiers" / "1" / "approvals" / "clinical.sig").unlink()
    with pytest.raises(ApprovalMissing, match="lacks the approval of clinical") as caught:
        verify(approved, tree)
    assert caught.value.roles == ["clinical"]


def test_an_approval_for_another_environment_is_refused(approved: Approved, tree: Path) -> None:
    with pytest.raises(ApprovalInvalid, match="another environment"):
        verify(approved, tree, "production")


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"model": "other_model"}, {"digest": "f" * 64}, {"replaces": 3}, {"environment": "lab"}],
    ids=lambda c: next(iter(c)),
)
def test_a_valid_signature_over_something_else_is_refused(
    approved: Approved, tree: Path, changes: dict[str, object]
) -> None:
    resign(approved, tree, "clinical", **changes)
    with pytest.raises(ApprovalInvalid, match=f"clinical approval.*another {next(iter(changes))}"):
        verify(approved, tree)


def test_a_clinical_signature_shown_as_compliance_is_refused(approved: Approved, tree: Path) -> None:
    place = tree / "dossiers" / "1" / "approvals"
    for end in (".json", ".sig"):
        shutil.copyfile(place / f"clinical{end}", place / f"compliance{end}")
    with pytest.raises(ApprovalInvalid, match=r"compliance approval.*another role"):
        verify(approved, tree)
    # with the role's name rewritten, the signature no longer covers the text
    statement = (place / "compliance.json").read_text().replace('"role": "clinical"', '"role": "compliance"')
    (place / "compliance.json").write_text(statement.replace("clinical@", "compliance@"))
    with pytest.raises(ApprovalInvalid, match="does not verify"):
        verify(approved, tree)


def test_a_namespace_of_another_role_is_refused(approved: Approved, tree: Path) -> None:
    """The compliance reviewer's own key, on the compliance statement, but signed in the clinical namespace."""
    place = tree / "dossiers" / "1"
    signed = approvals.statement(dossier.read(place), "compliance", World.person("compliance"), ENVIRONMENT)
    wrong = signed.model_copy(update={"role": "clinical"})
    _, signature = approvals.sign(wrong, approved[0].keys["compliance"])
    (place / "approvals" / "compliance.json").write_bytes(approvals.text(signed))
    (place / "approvals" / "compliance.sig").write_bytes(signature)
    with pytest.raises(ApprovalInvalid, match="does not verify"):
        verify(approved, tree)


def test_one_person_in_two_roles_is_refused(approved: Approved, tree: Path, tmp_path: Path) -> None:
    key = make_key(tmp_path, "second")
    trust = tmp_path / "trust"
    trust.write_text(approved[0].trust_root.read_text() + signer_line("technical@example.org", "final", key))
    resign(approved, tree, "final", key=key, approver="technical@example.org")
    with pytest.raises(ApprovalInvalid, match="same person or key already approved as technical"):
        policy.verify(tree, trust, ENVIRONMENT)


def test_one_key_of_two_persons_is_refused(approved: Approved, tree: Path, tmp_path: Path) -> None:
    shared = approved[0].keys["technical"]
    trust = tmp_path / "trust"
    trust.write_text(approved[0].trust_root.read_text() + signer_line("other@example.org", "final", shared))
    resign(approved, tree, "final", key=shared, approver="other@example.org")
    with pytest.raises(ApprovalInvalid, match="same person or key"):
        policy.verify(tree, trust, ENVIRONMENT)


def test_a_stranger_and_a_strangers_key_are_refused(approved: Approved, tree: Path, tmp_path: Path) -> None:
    resign(approved, tree, "final", approver="stranger@example.org")
    with pytest.raises(ApprovalInvalid, match="not allowed to sign as final"):
        verify(approved, tree)
    resign(approved, tree, "final", key=make_key(tmp_path, "stranger"))
    with pytest.raises(ApprovalInvalid, match="does not verify"):
        verify(approved, tree)


def test_a_manifest_that_asks_for_fewer_approvals_than_the_contract_is_refused(
    approved: Approved, tree: Path
) -> None:
    place = tree / "dossiers" / "1"
    weak = dossier.read(place).model_copy(update={"approvals": list(ROLES[:1])})
    (place / "manifest.json").write_bytes(dossier.render(weak))
    for role in ROLES[1:]:
        for end in (".json", ".sig"):
            (place / "approvals" / f"{role}{end}").unlink()
    with pytest.raises(Refused, match="approval roles"):
        verify(approved, tree)


def remake(tree: Path, **changes: object) -> Manifest:
    """Bind whatever lies in the dossier now and let release.yaml follow, as a pusher without any key can."""
    place = tree / "dossiers" / "1"
    files = [
        BoundFile(name=name, sha256=canonical.sha256(place / name), bytes=(place / name).stat().st_size)
        for name in dossier.BOUND
    ]
    manifest = dossier.read(place).model_copy(update={"files": files, **changes})
    (place / "manifest.json").write_bytes(dossier.render(manifest))
    release = Release(
        model=manifest.model,
        version=1,
        digest=dossier.digest(manifest),
        rollout=manifest.rollout,
        reason=manifest.reason,
    )
    (tree / "release.yaml").write_bytes(release_file.render(release))
    return manifest


def test_a_dossier_that_asks_for_one_signature_only_does_not_decide_the_quorum(
    approved: Approved, tree: Path
) -> None:
    contract = tree / "dossiers" / "1" / "model.yaml"
    document = yaml.safe_load(contract.read_text())
    contract.write_text(yaml.safe_dump(document | {"approvals": ["technical"]}, sort_keys=False))
    remake(tree, approvals=["technical"])
    shutil.rmtree(tree / "dossiers" / "1" / "approvals")
    (tree / "dossiers" / "1" / "approvals").mkdir()
    resign(approved, tree, "technical")
    assert policy.verify(tree, approved[0].trust_root, ENVIRONMENT, ["technical"])[1] is not None
    with pytest.raises(Refused, match="rule quorum.*approval of clinical, compliance, final"):
        verify(approved, tree)
    with pytest.raises(Refused, match="approval of final"):
        policy.verify(tree, approved[0].trust_root, ENVIRONMENT, ("technical", "final"))


@pytest.mark.parametrize(
    "content",
    [
        b"name: 2026-13-45\n",
        b"name: !!bool x\n",
        b"[" * 3000,
        b"approvals: [[1]]\n",
        b"? [1]\n: 2\n",
        b"\xff",
        b'title: "\\ud800"\n',
    ],
)
def test_a_dossier_whose_contract_is_anything_else_is_refused(
    approved: Approved, tree: Path, content: bytes
) -> None:
    (tree / "dossiers" / "1" / "model.yaml").write_bytes(content)
    remake(tree)
    with pytest.raises(Refused, match=r"dossiers/1/model\.yaml is not a contract"):
        verify(approved, tree)


def test_an_endless_range_in_a_signed_contract_is_refused(approved: Approved, tree: Path) -> None:
    path = tree / "dossiers" / "1" / "model.yaml"
    document = yaml.safe_load(path.read_text())
    document["inputs"][1]["range"] = [float("-inf"), float("inf")]
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    remake(tree)
    with pytest.raises(Refused, match="is not a contract: it breaks the contract's rules"):
        verify(approved, tree)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2**60},
        {"replaces": 2**53},
        {"reason": "two\nlines"},
        {"weights": {"name": "model.onnx", "sha256": "a" * 64, "bytes": 2**60}},
    ],
    ids=str,
)
def test_a_manifest_beyond_what_has_a_canonical_form_is_refused(
    approved: Approved, tree: Path, changes: dict[str, object]
) -> None:
    path = tree / "dossiers" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")
    with pytest.raises(Refused, match="is not a manifest"):
        verify(approved, tree)


def test_a_document_without_a_canonical_form_is_refused_and_not_an_accident(tree: Path) -> None:
    manifest = dossier.read(tree / "dossiers" / "1").model_copy(update={"version": 2**60})
    with pytest.raises(Refused, match="a manifest has no canonical form"):
        dossier.digest(manifest)


@pytest.mark.parametrize(
    "name", ["evil.onnx", ".gitattributes", "dossiers/latest/manifest.json", "dossiers/2", "dossiers/01/x"]
)
def test_nothing_lies_beside_what_is_verified(approved: Approved, tree: Path, name: str) -> None:
    path = tree / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    with pytest.raises(Refused, match="does not belong there; remove it"):
        verify(approved, tree)


def test_what_people_write_beside_a_release_may_lie_there(approved: Approved, tree: Path) -> None:
    for name in ("cohort.yaml", "kustomization.yaml"):
        (tree / name).write_text("x")
    assert verify(approved, tree) is not None


def test_a_release_that_is_a_folder_is_refused(approved: Approved, tree: Path) -> None:
    (tree / "release.yaml").unlink()
    (tree / "release.yaml").mkdir()
    with pytest.raises(Refused, match="is no plain file"):
        verify(approved, tree)


def test_a_statement_reads_as_a_sentence_a_line(approved: Approved, tree: Path) -> None:
    text = (tree / "dossiers" / "1" / "approvals" / "clinical.json").read_text()
    assert json.loads(text)["meaning"].startswith("I reviewed the intended use")
    assert text.count("\n") > 10
