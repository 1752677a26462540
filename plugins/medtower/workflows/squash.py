"""A proposal's branch as one commit on top of main."""

from __future__ import annotations

from medtower.adapters import git_history
from medtower.adapters.git import Checkout, Repository
from medtower.workflows.check import Rules, check


def squash(work: Checkout, branch: str, tip: str, message: str, rules: Rules) -> str:
    """Commit what `branch` (at `tip`) changes on top of the checked-out main, and push that while taking the branch away; return the commit.

    Every file that the branch changed comes to the state it has there, whatever main did to it meanwhile; `check` judges the result, and
    the repository's own hook asks the same once more. Raises Refused and its kin, Conflict when somebody else pushed meanwhile.
    """
    inside = Repository(work.folder)
    base = work.git("merge-base", str(work.tip), tip).decode().strip()
    changed = git_history.changes(inside, base, tip)
    entries = "".join(
        f"{c.mode if c.after else 0} {c.after or git_history.NOTHING}\t{c.path}\0" for c in changed
    )
    work.git("update-index", "-z", "--index-info", stdin=entries.encode(errors="surrogateescape"))
    work.git("read-tree", "-u", "--reset", work.git("write-tree").decode().strip())
    commit = work.commit(message)
    check(inside, str(work.tip), commit, rules)
    work.push(expected=work.tip, delete=(branch, tip))
    return commit
