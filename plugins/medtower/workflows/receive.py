"""What a bare repository accepts: the policy of `check` for main, and refs that could hide or rewrite history from nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from medtower.adapters import git_history
from medtower.adapters.git import MAIN, Repository
from medtower.adapters.git_checkout import NOTHING
from medtower.domain.tree import PROPOSALS
from medtower.errors import Refused
from medtower.releases import kustomization, policy
from medtower.workflows import check_trust, model_tree
from medtower.workflows.check import Rules, check

HEADS = "refs/heads/"
RULE = "refs"


def receive(repository: Repository, lines: Iterable[str], rules: Rules) -> None:
    """Judge a push, one `old new ref` a line as git gives them to pre-receive (githooks(5)). Raises Refused and its kin for the first that may
    not be; then git accepts none of it."""
    for line in lines:
        old, new, ref = line.split(maxsplit=2)
        name = ref.strip().removeprefix(HEADS)
        if not ref.startswith(HEADS):
            raise Refused(
                RULE,
                f"{ref.strip()[:100]} is no branch; only branches are accepted, no tags, notes or replacements",
            )
        if name == MAIN:
            _main(repository, old, new, rules)
        elif not ref.startswith(PROPOSALS):
            _other(repository, old, new, name)


def _main(repository: Repository, old: str, new: str, rules: Rules) -> None:
    if new == NOTHING:
        raise Refused(RULE, f"{MAIN} cannot be deleted")
    if old == NOTHING:
        _seed(repository, new, rules)
        return
    _check_continues(repository, old, new, MAIN)
    check(repository, old, new, replace(rules, now=datetime.now(UTC)))


def _other(repository: Repository, old: str, new: str, name: str) -> None:
    if new == NOTHING:
        raise Refused(
            RULE,
            f"{name[:100]} cannot be deleted; only proposals can ({', '.join(f'{f.removeprefix(HEADS)}…' for f in PROPOSALS)})",
        )
    if old != NOTHING:
        _check_continues(repository, old, new, name)


def _check_continues(repository: Repository, old: str, new: str, name: str) -> None:
    if not repository.is_ancestor(old, new):
        raise Refused(
            "history", f"{name[:100]} only moves forward; no force-push, commit on top of {old[:10]}"
        )


def _seed(repository: Repository, new: str, rules: Rules) -> None:
    """The first main: whatever it releases already must verify as it stands, and its trust root is the installed one."""
    git_history.check_whole(repository)
    check_trust.check_seed(repository, new, rules.trust_root)
    for entry in repository.entries(f"{new}:{model_tree.FOLDER}"):
        release = model_tree.release_at(repository, new, entry.path)
        if release.version is not None:
            with (
                check_trust.roots(repository, new, rules.trust_root) as roots,
                model_tree.exported(repository, new, entry.path) as folder,
            ):
                for root in roots:
                    _, manifest = policy.verify(folder, root, rules.environment, rules.required)
                    kustomization.check(folder, manifest)
