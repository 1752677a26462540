"""The demo's approvers: one key a role, made for this tower, trusted by this tower only."""

from __future__ import annotations

import subprocess
from pathlib import Path

from medtower.domain.contract import Role
from medtower.errors import Unavailable
from medtower.local.state import write_private

ROLES: tuple[Role, ...] = ("technical", "clinical", "compliance", "final")


def address(role: Role) -> str:
    return f"{role}@example.org"


def key(home: Path, role: Role) -> Path:
    return home / "keys" / role


def prepare(home: Path) -> None:
    """Make the keys once and install the public halves as this tower's trust root."""
    (home / "keys").mkdir(mode=0o700, exist_ok=True)
    lines = []
    for role in ROLES:
        if not key(home, role).exists():
            _generate(key(home, role), address(role))
        kind, public = key(home, role).with_suffix(".pub").read_text().split()[:2]
        lines.append(f'{address(role)} namespaces="medtower-{role}" {kind} {public}')
    write_private(home / "trust" / "allowed_signers", "\n".join(lines) + "\n")


def _generate(path: Path, comment: str) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        raise Unavailable(
            "ssh-keygen", "it is not installed; on Debian: apt-get install openssh-client"
        ) from None
