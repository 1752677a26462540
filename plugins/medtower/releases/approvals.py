"""Approvals: readable statements signed with SSH keys (`ssh-keygen -Y`, format of OpenSSH's PROTOCOL.sshsig).

The namespace carries the role (`medtower-<role>`), so a clinical signature can never be shown as compliance.
"""

from __future__ import annotations

import base64
import re
import secrets
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from medtower.domain.contract import Role
from medtower.domain.release import Manifest, Statement
from medtower.errors import ApprovalInvalid, ApprovalMissing, NotFound, Unavailable
from medtower.releases import allowed_signers as trust
from medtower.releases import dossier

MEANING = {
    "technical": "I reviewed the evaluation, the gates and the lineage of this version and found them technically sound.",
    "clinical": "I reviewed the intended use, the metrics by population and the limitations and judge the version fit for its stated use.",
    "compliance": "I reviewed the dossier for completeness, data protection and the rules that apply to it.",
    "final": "I reviewed the dossier and release this version into the named environment.",
}
FINGERPRINT = re.compile(r"with \S+ key (SHA256:[A-Za-z0-9+/]{43})")
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


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
    return (signed.model_dump_json(indent=2, by_alias=True) + "\n").encode()


def sign(signed: Statement, key: Path) -> tuple[bytes, bytes]:
    """Return the statement's bytes and the armoured signature by the private key file (or the agent's key of a .pub file)."""
    if not key.is_file():
        raise NotFound("the signing key", str(key), "make one with: ssh-keygen -t ed25519 -f KEY")
    content = text(signed)
    done = _ssh_keygen("-Y", "sign", "-q", "-n", _namespace(signed.role), "-f", str(key), stdin=content)
    if done.returncode:
        raise ApprovalInvalid(
            signed.role, f"ssh-keygen could not sign with {key.name}: {_words(done.stderr)}"
        )
    return content, done.stdout


def verify(folder: Path, manifest: Manifest, allowed_signers: Path, environment: str) -> list[Statement]:
    """Return the statements of all roles that the manifest asks for, each verified against the trust root.

    Raises ApprovalMissing naming the roles without one, ApprovalInvalid naming the rule that one breaks: bound to this model, version,
    digest, base, environment and role; signed by a person and key that the trust root has for that role; no person and no key twice.
    """
    signers = trust.read(allowed_signers)
    if missing := absent(folder, manifest):
        raise ApprovalMissing(manifest.model, manifest.version, missing)
    people: dict[str, Role] = {}
    keys: dict[str, Role] = {}
    statements = []
    for role in manifest.approvals:
        signed, key = _verify_one(folder / dossier.APPROVALS, role, manifest, signers, environment)
        person = signed.approver.casefold()
        if other := people.get(person) or keys.get(key):
            raise ApprovalInvalid(
                role, f"the same person or key already approved as {other}; another person must"
            )
        people[person] = keys[key] = role
        statements.append(signed)
    return statements


def absent(folder: Path, manifest: Manifest) -> list[Role]:
    """The roles of the manifest that have no statement or no signature yet, in its order; what is there is not judged."""
    place = folder / dossier.APPROVALS
    return [
        r for r in manifest.approvals if not all((place / f"{r}{end}").is_file() for end in (".json", ".sig"))
    ]


def _verify_one(
    place: Path, role: Role, manifest: Manifest, signers: list[trust.Signer], environment: str
) -> tuple[Statement, str]:
    content = (place / f"{role}.json").read_bytes()
    try:
        signed = Statement.model_validate_json(content)
    except ValidationError:
        raise ApprovalInvalid(role, f"{role}.json is not a statement") from None
    _check_binding(signed, role, manifest, environment)
    lines = [s.line for s in signers if s.role == role and s.person == signed.approver]
    if not lines:
        raise ApprovalInvalid(role, f"{signed.approver} is not allowed to sign as {role} by the trust root")
    return signed, _verify_signature(place / f"{role}.sig", role, signed.approver, content, lines)


def _check_binding(signed: Statement, role: Role, manifest: Manifest, environment: str) -> None:
    wanted = {
        "role": role,
        "model": manifest.model,
        "version": manifest.version,
        "digest": dossier.digest(manifest),
        "replaces": manifest.replaces,
        "environment": environment,
    }
    for name, value in wanted.items():
        if getattr(signed, name) != value:
            raise ApprovalInvalid(role, f"it was given for another {name}; it must be approved again")


def _verify_signature(path: Path, role: Role, person: str, content: bytes, lines: list[str]) -> str:
    """Return the fingerprint of the key that signed."""
    armoured = path.read_bytes()
    _check_armour(armoured, role)
    with tempfile.TemporaryDirectory(prefix="medtower-verify-") as folder:
        # copies: what ssh-keygen reads is what was parsed and checked above, not what the paths hold by then
        signers, signature = Path(folder, "allowed_signers"), Path(folder, "signature")
        signers.write_text("\n".join(lines) + "\n")
        signature.write_bytes(armoured)
        arguments = ("-f", str(signers), "-I", person, "-n", _namespace(role), "-s", str(signature))
        done = _ssh_keygen("-Y", "verify", *arguments, stdin=content)
    fingerprint = FINGERPRINT.search(done.stdout.decode(errors="replace"))
    if done.returncode or not fingerprint:
        raise ApprovalInvalid(
            role, f"the signature of {person} does not verify ({_words(done.stderr) or 'bad signature'})"
        )
    return fingerprint[1]


def _check_armour(armoured: bytes, role: Role) -> None:
    """Only the exact form that ssh-keygen writes: it would read past stray bytes, and every byte of a dossier counts."""
    lines = armoured.decode("ascii", errors="replace").split("\n")
    try:
        raw = base64.b64decode("".join(lines[1:-2]), validate=True)
    except ValueError:
        raw = b""
    encoded = base64.b64encode(raw).decode()
    exact = [BEGIN, *(encoded[i : i + 70] for i in range(0, len(encoded), 70)), END, ""]
    if lines != exact:
        raise ApprovalInvalid(role, f"{role}.sig is not a signature as ssh-keygen writes it")


def _namespace(role: str) -> str:
    return f"medtower-{role}"


def _words(stderr: bytes) -> str:
    return " ".join(stderr.decode(errors="replace").split())[:200]


def _ssh_keygen(*arguments: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise Unavailable("ssh-keygen", "it is not installed; install the package openssh-client")
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, check=False)
