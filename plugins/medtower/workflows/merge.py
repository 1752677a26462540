"""Merge an approved proposal: one commit on main that is the promotion, and whose revert is the rollback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtower.adapters.git import MAIN, Repository
from medtower.adapters.git_checkout import Checkout
from medtower.domain.contract import ROLES, Role
from medtower.errors import Refused
from medtower.releases import ledger
from medtower.workflows import history, model_tree
from medtower.workflows.check import Rules
from medtower.workflows.squash import squash


def merge(
    repository: Repository,
    model: str,
    version: int,
    allowed_signers: Path,
    environment: str,
    *,
    required: Sequence[Role] = ROLES,
) -> str:
    """Return the id of the commit "Promote <model> to <version>". Merging again returns the same commit.

    `required` are the roles that this tower asks for. Raises ApprovalMissing naming the roles, Refused and its kin for whatever policy says:
    by rule base when another promotion or a rollback of this model came first; then it must be proposed and approved again. Other models'
    commits in between do not matter. Raises Conflict when somebody else pushes all the time.
    """
    if repository.head(model_tree.branch(model, version)) is None and (
        done := _merged(repository, model, version)
    ):
        return done
    rules = Rules(environment, required, allowed_signers)
    return model_tree.until_pushed(repository, lambda: _merge(repository, model, version, rules))


def _merge(repository: Repository, model: str, version: int, rules: Rules) -> str:
    tip = model_tree.require_branch(repository, model, version)
    with repository.checkout() as work:
        _check_proposal(repository, work, tip, model, version)
        return squash(work, model_tree.branch(model, version), tip, f"Promote {model} to {version}", rules)


def _merged(repository: Repository, model: str, version: int) -> str | None:
    """The promotion that is in force already, when it is of this version."""
    stack = history.ledger(repository, MAIN, model).stack
    return stack[-1].commit if stack and stack[-1].release.version == version else None


def _check_proposal(repository: Repository, work: Checkout, tip: str, model: str, version: int) -> None:
    """Ask first what the squash could hide: that main moved on under the proposal."""
    proposed = model_tree.release_at(repository, tip, model)
    if proposed.version != version:
        raise Refused("release", f"the branch does not release {model} {version}; propose it again")
    main = str(work.tip)
    ledger.classify(
        history.ledger(repository, main, model), proposed, history.traffic_at(repository, main, model)
    )
