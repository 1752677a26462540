"""A proposal's branch as one commit on top of main."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from medtower.adapters import git_history
from medtower.adapters.git import Repository
from medtower.adapters.git_checkout import Checkout
from medtower.workflows.check import Rules, check


def squash(work: Checkout, branch: str, tip: str, message: str, rules: Rules) -> str:
    """Commit what `branch` (at `tip`) changes on top of the checked-out main, and push that while taking the branch away; return the commit.

    Every file that the branch changed comes to the state it has there, whatever main did to it meanwhile; `check` judges the result, and
    the repository's own hook asks the same once more. Raises Refused and its kin, Conflict when somebody else pushed meanwhile.
    """
    inside = Repository(work.folder)
    base = work.git("merge-base", str(work.tip), tip).decode().strip()
    work.apply(git_history.changes(inside, base, tip))
    commit = work.commit(message)
    check(inside, str(work.tip), commit, replace(rules, now=datetime.now(UTC)))
    work.push(expected=work.tip, delete=(branch, tip))
    return commit
