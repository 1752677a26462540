"""The trust root: OpenSSH's `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS), read more strictly than ssh-keygen does.

One person and one role a line: `person@example.org namespaces="medtower-clinical" ssh-ed25519 AAAA…`. Wildcards, lists of principals,
certificate authorities and lines without exactly one namespace of ours are refused, because ssh-keygen would let them mean more. So are plus
addresses: `person+x@` is that person once more, and a quorum counts persons. The role `rollout` is the bot's that steps traffic, and no
approval's. Beside it may lie `revoked_keys`: one public key or `SHA256:` fingerprint a line, whose signatures never count.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from medtower.domain.contract import ROLES, Role
from medtower.errors import NotFound, Refused, SignatureInvalid
from medtower.releases import ssh_public_key, sshsig

SignerRole = Role | Literal["rollout"]

RULE = "trust-root"
ROLLOUT: Literal["rollout"] = "rollout"
SIGNER_ROLES: tuple[SignerRole, ...] = (*ROLES, ROLLOUT)
REVOKED = "revoked_keys"
LINE = re.compile(
    r"(?P<person>[A-Za-z0-9_.-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)"
    r' namespaces="medtower-(?P<role>[a-z_]+)"(?P<options>(?:,valid-(?:after|before)="[^"\s]*")*)'
    rf" (?P<key>(?:{'|'.join(map(re.escape, ssh_public_key.KINDS))}) [A-Za-z0-9+/]+={{0,2}})"
    r"(?: [^\r\n]*)?"
)
OPTION = re.compile(r',valid-(after|before)="([^"]*)"')
TIME = re.compile(r"[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?Z")
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class Signer:
    """One line: this person may sign with this key (`KIND BASE64`) in this role, from `valid_after` until `valid_before`, both included."""

    person: str
    role: SignerRole
    key: str
    fingerprint: str
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    def why_not(self, at: datetime) -> str | None:
        """Why the line does not count at `at` (aware), or None when it does."""
        said = f"the key of {self.person} for role {self.role} is valid"
        if self.valid_after and at < self.valid_after:
            return f"{said} from {self.valid_after:%Y-%m-%dT%H:%M:%SZ} on (valid-after in the trust root)"
        if self.valid_before and at > self.valid_before:
            return f"{said} until {self.valid_before:%Y-%m-%dT%H:%M:%SZ} (valid-before in the trust root)"
        return None


@dataclass(frozen=True)
class TrustRoot:
    """Who may sign in which role, and the fingerprints of the keys that no longer count."""

    signers: list[Signer]
    revoked: frozenset[str] = frozenset()

    @classmethod
    def load(cls, path: Path) -> TrustRoot:
        """The trust root at `path` and the revocations beside it. Raises NotFound, or Refused naming the line."""
        return cls(read(path), revoked(path))

    def lines(self, role: SignerRole, person: str | None = None) -> list[Signer]:
        """The lines of a role, of one person only when named."""
        return [s for s in self.signers if s.role == role and person in (None, s.person)]

    def key_of(self, role: SignerRole, content: bytes, armoured: bytes, person: str | None = None) -> str:
        """The fingerprint of the key of `role` (and `person`) that signed `content` in the role's namespace. Raises SignatureInvalid."""
        claimed = sshsig.claimed(armoured)
        for line in self.lines(role, person):
            if line.fingerprint == claimed:
                return sshsig.verify(content, armoured, namespace(role), line.key)
        raise SignatureInvalid(f"the trust root does not have its key for {person or 'anybody'} as {role}")

    def why_not(self, role: SignerRole, key: str, at: datetime, person: str | None = None) -> str | None:
        """Why a signature that `key` made does not count at `at` (aware) although it verifies; None when it does."""
        if key in self.revoked:
            return f"the key {key} is in {REVOKED}, so no signature of it counts, whatever its date"
        reasons = [s.why_not(at) for s in self.lines(role, person) if s.fingerprint == key]
        return None if None in reasons else reasons[0]


def namespace(role: SignerRole) -> str:
    """The SSHSIG namespace of a role: a signature of one role is none of another."""
    return f"medtower-{role}"


def check_signed_by(
    role: SignerRole, content: bytes, armoured: bytes, allowed_signers: Path, *, at: datetime | None = None
) -> None:
    """Raise SignatureInvalid unless a key that the trust root has for `role` signed `content` and counts at `at` (aware; None is now)."""
    root = TrustRoot.load(allowed_signers)
    key = root.key_of(role, content, armoured)
    if why := root.why_not(role, key, at or datetime.now(UTC)):
        raise SignatureInvalid(why)


def read(path: Path) -> list[Signer]:
    """Parse the file. Raises NotFound, or Refused naming the line; blank lines and `#` comments are allowed."""
    if not path.is_file():
        raise NotFound("the trust root", str(path), "install allowed_signers beside the reconciler")
    return [_signer(f"line {number} of {path.name}", line) for number, line in _lines(path)]


def revoked(path: Path) -> frozenset[str]:
    """The fingerprints of the keys in `revoked_keys` beside the trust root `path`; without the file, none. Raises Refused naming the line."""
    beside = path.with_name(REVOKED)
    if not os.path.lexists(beside):
        return frozenset()
    if not beside.is_file():
        raise Refused(
            RULE,
            f"{REVOKED} beside the trust root is no plain file; a list that cannot be read revokes nothing",
        )
    return frozenset(_revoked(f"line {number} of {REVOKED}", line) for number, line in _lines(beside))


def digest(path: Path) -> str:
    """Names what is trusted now: it changes with a byte of the trust root or of its revocations."""
    places = (path, path.with_name(REVOKED))
    parts = [hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in places]
    return " ".join(parts)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that say something. Only a line feed ends one, as for git and OpenSSH: nobody hides behind a character that ends a line
    for some readers and not for others."""
    for number, line in enumerate(path.read_bytes().decode("ascii", errors="replace").split("\n"), 1):
        if not (line.isascii() and line.isprintable()):
            raise Refused(RULE, f"line {number} of {path.name} holds more than printable ASCII; rewrite it")
        if line.strip() and not line.startswith("#"):
            yield number, line


def _signer(where: str, line: str) -> Signer:
    found = LINE.fullmatch(line)
    if found is None:
        raise Refused(
            RULE,
            f'{where} must read: EMAIL namespaces="medtower-ROLE" KEYTYPE KEY, with one plain e-mail address (without +), '
            f'ROLE one of {", ".join(SIGNER_ROLES)}; ,valid-after="YYYYMMDDZ" and ,valid-before="YYYYMMDDZ" may follow the namespace',
        )
    role = next((r for r in SIGNER_ROLES if found["role"] == r), None)
    if role is None:
        raise Refused(RULE, f"{where} names the role {found['role']!a}; there are {', '.join(SIGNER_ROLES)}")
    times = _validity(where, found["options"])
    fingerprint = _fingerprint(where, found["key"])
    return Signer(found["person"], role, found["key"], fingerprint, times.get("after"), times.get("before"))


def _validity(where: str, options: str) -> dict[str, datetime]:
    times: dict[str, datetime] = {}
    for name, value in OPTION.findall(options):
        if name in times:
            raise Refused(RULE, f"{where} says valid-{name} twice; keep one")
        times[name] = _time(f"{where}: valid-{name}", value)
    if len(times) == 2 and times["before"] <= times["after"]:
        raise Refused(RULE, f"{where}: valid-before is not later than valid-after, so the key never counts")
    return times


def _time(where: str, value: str) -> datetime:
    """ssh-keygen(1)'s timestamps in UTC. It takes those without Z as the machine's local time: two machines would disagree."""
    digits = value.removesuffix("Z")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits), "")
    if not TIME.fullmatch(f"{digits}Z"):
        raise Refused(RULE, f"{where} must read YYYYMMDDZ or YYYYMMDDHHMM[SS]Z, such as 20300101Z")
    if digits == value:
        raise Refused(RULE, f"{where} has no time zone; write {value}Z (UTC)")
    try:
        return datetime.strptime(digits, form).replace(tzinfo=UTC)
    except ValueError:
        raise Refused(RULE, f"{where} {value} is no time of the calendar; correct it") from None


def _revoked(where: str, line: str) -> str:
    word = line.split(maxsplit=1)[0]
    if word.startswith("SHA256:"):
        if not FINGERPRINT.fullmatch(word):
            raise Refused(
                RULE, f"{where} is not a fingerprint SHA256: with 43 characters, as ssh-keygen -l prints it"
            )
        return word
    return _fingerprint(where, line)


def _fingerprint(where: str, key: str) -> str:
    try:
        return ssh_public_key.parse(key).fingerprint
    except SignatureInvalid as error:
        raise Refused(RULE, f"{where} holds no usable key: {error.why}") from None
