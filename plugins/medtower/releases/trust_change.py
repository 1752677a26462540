"""A change of the trust root's copy in git: a commit of its own, signed by the quorum of the trust root that it replaces."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from medtower.domain.contract import Role
from medtower.domain.trust import TrustStatement
from medtower.errors import ApprovalInvalid, Refused
from medtower.releases import allowed_signers as trust
from medtower.releases import canonical, quorum, sshsig

NAME, APPROVALS = "allowed_signers", "approvals"
MEANING = "I reviewed who may sign from now on, compared with who may sign now, and agree to it."


def statement(old: Path, new: Path, role: Role, approver: str, environment: str) -> TrustStatement:
    """What `approver` is about to sign: that the trust root `new` takes the place of `old`."""
    return TrustStatement(
        schema="medtower/trust/v1",
        before=canonical.sha256(old),
        after=canonical.sha256(new),
        environment=environment,
        role=role,
        approver=approver,
        meaning=MEANING,
        signed_at=datetime.now(UTC).replace(microsecond=0),
        nonce=secrets.token_hex(16),
    )


def sign(signed: TrustStatement, key: Path) -> tuple[bytes, bytes]:
    """Return the statement's bytes and the armoured signature; raises what `sshsig.sign` raises."""
    content = quorum.text(signed)
    return content, sshsig.sign(content, key, trust.namespace(signed.role))


def check_files(names: Collection[str], roles: Collection[Role]) -> None:
    """Raise Refused when `trust/` holds anything but the trust root and the approvals of its last change."""
    known = {NAME, *(f"{APPROVALS}/{role}{end}" for role in roles for end in (".json", ".sig"))}
    if strangers := sorted(set(names) - known):
        raise Refused("stray", f"trust/{ascii(strangers[0])[1:-1]} does not belong there; remove it")
    if NAME not in names:
        raise Refused(trust.RULE, f"trust/{NAME} may not go: without it nobody could say who may sign")


def check_first(new: Path, installed: Path | None) -> None:
    """The first copy in git is the installed trust root, byte for byte. Raises Refused."""
    if installed is None or not installed.is_file() or installed.read_bytes() != new.read_bytes():
        raise Refused(
            trust.RULE,
            f"the first trust/{NAME} in git must be the installed trust root; run: medtower trust init",
        )


def verify(
    old: Path, folder: Path, environment: str, required: Sequence[Role], *, at: datetime | None = None
) -> list[TrustStatement]:
    """Return the statements by which the quorum of the trust root `old` agrees to `folder`/allowed_signers.

    Raises Refused (quorum) naming the roles without one, ApprovalInvalid naming what is wrong with one, and Refused (trust-root) for a
    trust root under which nobody could sign for a required role any more.
    """
    new, place = folder / NAME, folder / APPROVALS
    if missing := quorum.absent(place, required):
        raise Refused(
            "quorum",
            f"the new trust root lacks the approval of {', '.join(missing)}; run: medtower trust approve --role {missing[0]}",
        )
    check_usable(new, required)
    wanted = {"before": canonical.sha256(old), "after": canonical.sha256(new), "environment": environment}
    root = trust.TrustRoot.load(old)
    found = quorum.judge(place, required, TrustStatement, wanted, root, at or datetime.now(UTC)).values()
    statements = []
    for one in found:
        if isinstance(one, ApprovalInvalid):
            raise one
        statements.append(one)
    return statements


def check_fresh(statements: Sequence[TrustStatement], former: Collection[bytes]) -> None:
    """Raise ApprovalInvalid for a statement that stood in git before, one of the contents `former`: a change that was undone comes back by the
    quorum's new signatures only."""
    spent = {found.nonce for content in former if (found := _read(content))}
    for one in statements:
        if one.nonce in spent:
            raise ApprovalInvalid(one.role, "it was used for a former change; it must be approved again")


def _read(content: bytes) -> TrustStatement | None:
    try:
        return TrustStatement.model_validate_json(content)
    except ValidationError:
        return None


def check_usable(path: Path, required: Sequence[Role]) -> None:
    """Raise Refused for a trust root that cannot be read, or that has nobody for a role without which nothing serves."""
    found = trust.read(path)
    if empty := [role for role in required if not any(s.role == role for s in found)]:
        raise Refused(
            trust.RULE,
            f"the new trust root has nobody for {', '.join(empty)}: nothing could be released any more",
        )
