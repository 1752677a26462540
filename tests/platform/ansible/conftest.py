"""One Debian tree a session; booted systems on top of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from medtower.releases import sshsig

from .booted_debian import BootedDebian, booted
from .debian_tree import debian_mirror, debian_tree
from .playbook import ANSIBLE, Playbook


@pytest.fixture(scope="session")
def tree() -> Path:
    mirror = debian_mirror()
    assert mirror is not None, "the mark needs_booted_debian skips where apt knows no mirror"
    return debian_tree(*mirror, _role_packages())


@pytest.fixture(scope="session")
def signer_key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Key type and key of a fresh public key."""
    path = tmp_path_factory.mktemp("key") / "key"
    sshsig.generate(path, "")
    return path.with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="session")
def signers(signer_key: str) -> list[str]:
    """The lines of the trust root that the tower is set up with."""
    return [
        f'clinical@example.org namespaces="medtower-clinical" {signer_key}',
        f'compliance@example.org namespaces="medtower-compliance",valid-before="20300101Z" {signer_key} to 2030',
    ]


@pytest.fixture(scope="module")
def tower(tree: Path, signers: list[str]) -> Iterator[BootedDebian]:
    """A system on which the whole site has run once; tests leave it as they found it."""
    with booted(tree) as system:
        Playbook(system.pid, signers).succeed()
        yield system


@pytest.fixture
def playbook(tower: BootedDebian, signers: list[str]) -> Playbook:
    """The site as it ran on the tower."""
    return Playbook(tower.pid, signers)


def _role_packages() -> tuple[str, ...]:
    """Every Debian package that a role installs, read from the roles' defaults."""
    names: list[str] = []
    for path in sorted(ANSIBLE.glob("roles/*/defaults/main.yml")):
        defaults = yaml.safe_load(path.read_text())
        names += [name for key, value in defaults.items() if key.endswith("_packages") for name in value]
    return tuple(names)
