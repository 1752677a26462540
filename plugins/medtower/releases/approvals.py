"""Approvals: readable statements signed with SSH keys (OpenSSH's PROTOCOL.sshsig).

The namespace carries the role (`medtower-<role>`), so a clinical signature can never be shown as compliance.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

from medtower.domain.contract import Role
from medtower.domain.release import Manifest, Statement
from medtower.errors import ApprovalInvalid, ApprovalMissing
from medtower.releases import allowed_signers as trust
from medtower.releases import dossier, quorum, sshsig

MEANING = {
    "technical": "I reviewed the evaluation, the gates and the lineage of this version and found them technically sound.",
    "clinical": "I reviewed the intended use, the metrics by population and the limitations and judge the version fit for its stated use.",
    "compliance": "I reviewed the dossier for completeness, data protection and the rules that apply to it.",
    "final": "I reviewed the dossier and release this version into the named environment.",
}


def statement(manifest: Manifest, role: Role, approver: str, environment: str) -> Statement:
    """What `approver` (an e-mail address) is about to sign. Raises ApprovalInvalid when the release does not ask for the role."""
    if role not in manifest.approvals:
        raise ApprovalInvalid(role, f"{manifest.model} asks for {', '.join(manifest.approvals)} only")
    return Statement(
        schema="medtower/approval/v1",
        model=manifest.model,
        version=manifest.version,
        digest=dossier.digest(manifest),
        replaces=manifest.replaces,
        environment=environment,
        role=role,
        approver=approver,
        meaning=MEANING[role],
        signed_at=datetime.now(UTC).replace(microsecond=0),
        nonce=secrets.token_hex(16),
    )


def text(signed: Statement) -> bytes:
    """The bytes that are signed: indented JSON, one statement a line, readable as it stands."""
    return quorum.text(signed)


def sign(signed: Statement, key: Path) -> tuple[bytes, bytes]:
    """Return the statement's bytes and the armoured signature by the private key file (or the agent's key of a .pub file).

    Raises what `sshsig.sign` raises.
    """
    content = text(signed)
    return content, sshsig.sign(content, key, trust.namespace(signed.role))


def verify(
    folder: Path,
    manifest: Manifest,
    allowed_signers: Path,
    environment: str,
    *,
    at: datetime | None = None,
) -> list[Statement]:
    """Return the statements of all roles that the manifest asks for, each verified against the trust root.

    `at` (aware) is when the approvals were merged, as somebody trusted knows it, and must lie in the keys' validity; None is now. Never
    pass a time that the signer or the committer wrote down: who holds an expired key would date it back.

    Raises ApprovalMissing naming the roles without one, ApprovalInvalid naming the rule that one breaks: bound to this model, version,
    digest, base, environment and role; signed by a person and key that the trust root has for that role, that is valid at the time and not
    revoked; no person and no key twice, and none that the rollout bot uses.
    """
    judged = judge(folder, manifest, allowed_signers, environment, at=at)
    if missing := absent(folder, manifest):
        raise ApprovalMissing(manifest.model, manifest.version, missing)
    statements = []
    for found in judged.values():
        if isinstance(found, ApprovalInvalid):
            raise found
        statements.append(found)
    return statements


def judge(
    folder: Path,
    manifest: Manifest,
    allowed_signers: Path,
    environment: str,
    *,
    at: datetime | None = None,
) -> dict[Role, Statement | ApprovalInvalid]:
    """Each approval that is there, in the manifest's order: its statement when it counts, the error that `verify` raises for it when not."""
    root, merged = trust.TrustRoot.load(allowed_signers), at or datetime.now(UTC)
    wanted = {
        "model": manifest.model,
        "version": manifest.version,
        "digest": dossier.digest(manifest),
        "replaces": manifest.replaces,
        "environment": environment,
    }
    return quorum.judge(folder / dossier.APPROVALS, manifest.approvals, Statement, wanted, root, merged)


def absent(folder: Path, manifest: Manifest) -> list[Role]:
    """The roles of the manifest that have no statement or no signature yet, in its order; what is there is not judged."""
    return quorum.absent(folder / dossier.APPROVALS, manifest.approvals)
