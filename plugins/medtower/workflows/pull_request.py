"""A proposal's pull request: where it is read and discussed, and on a forge also where it is merged.

Without a forge the local bare repository is the place itself; with one, its branches are brought here before they are changed and back after.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from medtower.adapters.forge.chosen import forge_of, remote_of
from medtower.adapters.forge.pull_request import PullRequest
from medtower.adapters.git import Repository
from medtower.domain.tree import PROMOTE
from medtower.errors import Conflict, MedtowerError, NotFound, Refused
from medtower.releases import dossier, policy
from medtower.reports.render import render
from medtower.workflows import merge as local_merge
from medtower.workflows import model_tree
from medtower.workflows.check import Rules, check_squashed
from medtower.workflows.tower import Tower

log = logging.getLogger(__name__)
PAGE = "approval.md"
PATIENCE_SECONDS = 5.0


@contextmanager
def synchronised(tower: Tower, model: str, version: int) -> Iterator[None]:
    """Work on a proposal's branch as the forge has it, and give the forge what became of it. Raises Conflict when somebody else was first."""
    remote, name = remote_of(tower.settings), model_tree.branch(model, version)
    if remote is None:
        yield
        return
    repository = tower.repository
    there = remote.tip(repository, name)
    remote.fetch(repository)
    if there:
        remote.fetch(repository, name)
    yield
    if repository.head(name) not in (None, there):
        remote.push(repository, name, expected=there)


def refresh(tower: Tower) -> None:
    """Make main and all proposals here what they are on the forge; without a forge they are that already."""
    if remote := remote_of(tower.settings):
        remote.fetch_all(tower.repository, PROMOTE)


def catch_up(tower: Tower) -> None:
    """Bring main here up to what the forge has, if it says so within a few seconds: what is committed next then continues it. A forge that is
    down holds nothing up. Where only the way to it is cut, its main may move meanwhile; then `share` raises Conflict, and a person must merge."""
    if remote := remote_of(tower.settings):
        try:
            remote.within(PATIENCE_SECONDS).fetch(tower.repository)
        except MedtowerError as error:
            log.warning("main was not compared with the forge's", extra={"reason": str(error)})


def share(tower: Tower) -> None:
    """Give the forge what was committed to main here: a rollback, or a step of a rollout."""
    if remote := remote_of(tower.settings):
        remote.push_main(tower.repository)


def open_pull_request(tower: Tower, model: str, version: int) -> PullRequest:
    """Open the pull request of a proposal whose branch is there, or bring the open one up to date. Its text is the approval page."""
    name = model_tree.branch(model, version)
    body = text(tower.repository, model, version)
    return forge_of(tower.settings).open(name, title(model, version), body)


def find(tower: Tower, model: str, version: int) -> PullRequest:
    """The newest pull request of the proposal. Raises NotFound."""
    forge, name = forge_of(tower.settings), model_tree.branch(model, version)
    for state in ("open", "closed"):
        found = [p for p in forge.list(state) if p.branch == name]
        if found:
            return max(found, key=lambda p: p.number)
    raise NotFound(
        f"a pull request of {name}", tower.settings.forge, f"run: medtower propose {model} {version}"
    )


def title(model: str, version: int) -> str:
    """Also the message of the one commit that a merge makes."""
    return f"Promote {model} to {version}"


def text(repository: Repository, model: str, version: int) -> str:
    """How to sign, and the approval page as the dossier binds it."""
    with model_tree.exported(
        repository, model_tree.require_branch(repository, model, version), model
    ) as folder:
        _, manifest = policy.evidence(folder)
        if manifest is None or manifest.version != version:
            raise Refused("release", f"the branch does not release {model} {version}; propose it again")
        page = (policy.dossier_of(folder, version) / PAGE).read_text()
        return render("_signing.md.j2", manifest=manifest, digest=dossier.digest(manifest)) + page


def merge(tower: Tower, model: str, version: int) -> str:
    """Promote: return the id of the one commit that does it. Merging again returns the same.

    On a forge the policy is checked here first, then the forge squashes, which it does only when the required check is green. Raises what
    `workflows.merge.merge` raises, and Refused when the check is not green.
    """
    settings, repository, name = tower.settings, tower.repository, model_tree.branch(model, version)
    remote = remote_of(settings)
    if remote is None:
        return local_merge.merge(
            repository,
            model,
            version,
            allowed_signers=tower.trust_root,
            environment=settings.environment,
            required=settings.approval_roles,
        )
    remote.fetch(repository)
    pull = find(tower, model, version)
    if pull.state == "closed":
        raise Conflict(f"pull request {pull.number} is closed; run medtower propose again")
    commit = pull.merged_as
    if commit is None:
        remote.fetch(repository, name)
        _verify(tower, model, version, pull.head)
        commit = forge_of(settings).merge(pull.number, pull.head)
    remote.fetch(repository)
    if tip := repository.head(name):
        repository.git("update-ref", "-d", f"refs/heads/{name}", tip)
    return commit


def _verify(tower: Tower, model: str, version: int, head: str) -> None:
    """The policy on what main would be with the commit that is about to be merged."""
    settings, repository = tower.settings, tower.repository
    if model_tree.release_at(repository, head, model).version != version:
        raise Refused("release", f"the branch does not release {model} {version}; propose it again")
    rules = Rules(settings.environment, settings.approval_roles, tower.trust_root, now=datetime.now(UTC))
    check_squashed(repository, str(repository.head()), head, rules)
