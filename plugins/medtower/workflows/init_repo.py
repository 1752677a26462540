"""Prepare a repository for reviews on a forge: owners by role, the pull request's template, the required check, branch protection."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from medtower import atomic_file
from medtower.adapters.forge.protection import protection
from medtower.adapters.forge.pull_request import WORKFLOW, Kind
from medtower.domain.contract import ROLES, Role
from medtower.errors import InvalidInput, NotFound, Refused
from medtower.releases import plain_yaml
from medtower.workflows.init_repo_text import TEMPLATE, Owners, code_owners, workflow

HANDLE = re.compile(r"@[A-Za-z0-9][A-Za-z0-9_.-]{0,99}(?:/[A-Za-z0-9_.-]{1,100})?")
ENVIRONMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
RECORD = "medtower-init.json"  # sha256 of each file as it was written: what differs from it, a person changed
PROTECTION = "branch-protection.json"
NEEDED = ("medtower.lock", "pyproject.toml")


@dataclass(frozen=True)
class Change:
    """What becomes of one file (`path` below the folder). `kept` is a file that a person changed; `diff` is what it would take."""

    path: str
    action: Literal["create", "update", "same", "kept"]
    diff: str
    content: str

    def __str__(self) -> str:
        said = {
            "same": "is as it should be",
            "kept": "was changed by a person and is kept; --force replaces it",
        }
        return f"{self.path}: {said.get(self.action, self.action)}"


def read_owners(path: Path) -> dict[Role, list[str]]:
    """A YAML file `role: ["@account", "@organisation/team"]` with every role. Raises InvalidInput, NotFound."""
    if not path.is_file():
        raise NotFound(
            "the owners by role", str(path), 'write lines such as technical: ["@organisation/team"]'
        )
    try:
        return owners(plain_yaml.load(path.read_bytes(), largest=1 << 16))
    except plain_yaml.NotPlain as error:
        raise InvalidInput(f"{path} {error}") from None


def parse_owners(lines: Sequence[str]) -> dict[Role, list[str]]:
    """The same from `ROLE=@ACCOUNT`, any number of them a role."""
    found: dict[str, list[str]] = {}
    for line in lines:
        role, _, handle = line.partition("=")
        found.setdefault(role, []).append(handle)
    return owners(found)


def kind_of(forge: str) -> Kind:
    """Raises InvalidInput for what is no forge."""
    if forge not in get_args(Kind):
        raise InvalidInput(f"forge: write one of {', '.join(get_args(Kind))} (Forgejo is gitea)")
    return cast(Kind, forge)


def owners(value: object) -> dict[Role, list[str]]:
    """Each role's accounts and teams on the forge, checked. Raises InvalidInput naming the role."""
    if not isinstance(value, dict) or set(value) != set(ROLES):
        raise InvalidInput(f"owners: name each of {', '.join(ROLES)} once, and no other role")
    found: dict[Role, list[str]] = {}
    for role in ROLES:
        people = [value[role]] if isinstance(value[role], str) else value[role]
        if (
            not isinstance(people, list)
            or not people
            or not all(isinstance(p, str) and HANDLE.fullmatch(p) for p in people)
        ):
            raise InvalidInput(f"owners of {role}: write @account or @organisation/team, one at least")
        found[role] = people
    return found


@dataclass(frozen=True)
class Wanted:
    """For which forge, who owns what, which accounts may push to main (`bots`), and what the check asks for: environment and quorum."""

    forge: Kind
    owners: Owners
    bots: Sequence[str] = ()
    environment: str = "demo"
    required: Sequence[Role] = ROLES

    @property
    def place(self) -> str:
        return f".{self.forge}"

    def files(self) -> dict[str, str]:
        """The files by their path in the repository. Raises InvalidInput."""
        if not ENVIRONMENT.fullmatch(self.environment):
            raise InvalidInput("MEDTOWER_ENVIRONMENT: use letters, digits, _, - and . only")
        owned = code_owners(self.owners, regular_expressions=self.forge == "gitea")
        # what Gitea's act_runner is called by default
        runner = "ubuntu-24.04" if self.forge == "github" else "ubuntu-latest"
        return {
            f"{self.place}/CODEOWNERS": owned,
            f"{self.place}/pull_request_template.md": TEMPLATE,
            f"{self.place}/workflows/{WORKFLOW}.yml": workflow(runner, self.environment, self.required),
            f"{self.place}/{PROTECTION}": json.dumps(protection(self.forge, self.bots), indent=2) + "\n",
        }


def plan(folder: Path, wanted: Wanted, *, force: bool = False) -> list[Change]:
    """What would be written into `folder`, changing nothing. Raises NotFound when it is not a copy of this repository, Refused for links."""
    for name in NEEDED:
        if not (folder / name).is_file():
            hint = "the check installs Medtower from the repository's own lock: use a copy of Medtower's repository"
            raise NotFound(name, str(folder), hint)
    written = _record(folder, wanted.forge)
    return [_change(folder, name, text, written.get(name), force) for name, text in wanted.files().items()]


def write(folder: Path, forge: Kind, changes: Sequence[Change]) -> None:
    """Write what is to be created and updated, and remember it."""
    written = _record(folder, forge)
    for change in changes:
        if change.action in ("create", "update"):
            atomic_file.write(folder / change.path, change.content)
        if change.action != "kept":
            written[change.path] = _sha256(change.content)
    atomic_file.write(folder / f".{forge}" / RECORD, json.dumps(written, indent=2, sort_keys=True) + "\n")


def call(forge: Kind, folder: Path) -> str:
    """The command that applies the settings that were written."""
    return f"MEDTOWER_FORGE_TOKEN=… MEDTOWER_FORGE_REPOSITORY=OWNER/NAME medtower init-repo {folder} --forge {forge} --apply"


def settings_of(folder: Path, forge: Kind) -> Mapping[str, Any]:
    """The branch protection as it stands in the folder, with what a person changed. Raises NotFound, InvalidInput."""
    path = folder / f".{forge}" / PROTECTION
    if not path.is_file():
        raise NotFound(PROTECTION, str(path.parent))
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(k), dict) for k in ("repository", "branch")
    ):
        raise InvalidInput(f"{path} is not JSON with `repository` and `branch`; --force writes it anew")
    return found


def _change(folder: Path, name: str, content: str, written: str | None, force: bool) -> Change:
    path = folder / name
    if any(p.is_symlink() for p in (path, *path.parents) if p.is_relative_to(folder) and p != folder):
        raise Refused("init-repo", f"{name} is, or lies behind, a link; remove the link")
    if not path.exists():
        return Change(name, "create", _diff(name, "", content), content)
    there = path.read_text(encoding="utf-8", errors="replace")
    if there == content:
        return Change(name, "same", "", content)
    ours = force or _sha256(there) == written
    return Change(name, "update" if ours else "kept", _diff(name, there, content), content)


def _record(folder: Path, forge: Kind) -> dict[str, str]:
    """What was written last time; nothing, when nobody knows."""
    try:
        found = json.loads((folder / f".{forge}" / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _diff(name: str, old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{name}", f"b/{name}")
    return "".join(lines)


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
