"""The demo's approvers: one key a role, made for this tower, trusted by this tower only."""

from __future__ import annotations

from pathlib import Path

from medtower.adapters.git import MAIN, Repository
from medtower.domain.contract import ROLES, Role
from medtower.domain.tree import TRUST_ROOT
from medtower.local.state import write_private
from medtower.releases import allowed_signers as trust_root
from medtower.releases import sshsig
from medtower.workflows import trust

BOT = "rollout-bot@example.org"


def address(role: Role) -> str:
    return f"{role}@example.org"


def key(home: Path, role: Role) -> Path:
    return home / "keys" / role


def prepare(home: Path) -> None:
    """Make the keys of the approvers and of the rollout bot once, install the public halves as this tower's trust root, and put its first copy
    into the tower's repository."""
    (home / "keys").mkdir(mode=0o700, exist_ok=True)
    people = {address(role): role for role in ROLES} | {BOT: trust_root.ROLLOUT}
    lines = [_line(home, person, role) for person, role in people.items()]
    installed = home / "trust" / "allowed_signers"
    write_private(installed, "\n".join(lines) + "\n")
    repository = Repository(home / "models.git")
    if repository.read(MAIN, TRUST_ROOT) is None:
        trust.init(repository, installed)


def _line(home: Path, person: str, role: trust_root.SignerRole) -> str:
    path = home / "keys" / role
    if not path.exists():
        sshsig.generate(path, person)
    kind, public = path.with_suffix(".pub").read_text().split()[:2]
    return f'{person} namespaces="{trust_root.namespace(role)}" {kind} {public}'
