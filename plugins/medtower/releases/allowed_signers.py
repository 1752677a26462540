"""The trust root: OpenSSH's `allowed_signers` (ssh-keygen(1), ALLOWED SIGNERS), read more strictly than ssh-keygen does.

One person and one role a line: `person@example.org namespaces="medtower-clinical" ssh-ed25519 AAAA…`. Wildcards, lists of principals,
certificate authorities and lines without exactly one namespace of ours are refused, because ssh-keygen would let them mean more. So are plus
addresses: `person+x@` is that person once more, and a quorum counts persons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from medtower.domain.contract import Role
from medtower.errors import NotFound, Refused

RULE = "trust-root"
LINE = re.compile(
    r"(?P<person>[A-Za-z0-9_.-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)"
    r' (?P<options>namespaces="medtower-(?P<role>[a-z]+)"(?:,valid-(?:after|before)="?[0-9]{8,14}Z?"?)*)'
    r" (?P<key>(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|sk-[a-z0-9@.-]+|ssh-rsa) [A-Za-z0-9+/]+={0,2})"
    r"(?: [^\r\n]*)?"
)


@dataclass(frozen=True)
class Signer:
    """One line: this person may sign with this key in this role. `line` is the text as ssh-keygen reads it."""

    person: str
    role: Role
    key: str
    line: str


def read(path: Path) -> list[Signer]:
    """Parse the file. Raises NotFound, or Refused naming the line; blank lines and `#` comments are allowed."""
    if not path.is_file():
        raise NotFound("the trust root", str(path), "install allowed_signers beside the reconciler")
    signers = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            signers.append(_signer(path, number, line))
    return signers


def _signer(path: Path, number: int, line: str) -> Signer:
    found = LINE.fullmatch(line)
    if not found or found["role"] not in get_args(Role):
        roles = ", ".join(get_args(Role))
        raise Refused(
            RULE,
            f'line {number} of {path.name} must read: EMAIL namespaces="medtower-ROLE" KEYTYPE KEY, with one plain '
            f"e-mail address (without +), ROLE one of {roles}",
        )
    role: Role = found["role"]  # type: ignore[assignment]  # checked against Role above
    return Signer(found["person"], role, found["key"], line)
