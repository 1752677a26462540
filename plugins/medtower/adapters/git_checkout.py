"""A throw-away working tree of a repository: commits in it, and their push."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from medtower.adapters.git_process import attempt, run
from medtower.domain.file_change import FileChange
from medtower.errors import Conflict, Refused, Unavailable

RACED = ("stale info", "rejected", "failed to update ref", "cannot lock ref")
DECLINED = re.compile(r"refused by rule (?P<rule>[a-z-]+): (?P<what>.*?)(?: remote:| To \S+ ! |$)")
NOTHING = "0" * 40
SPARSE = ("-c", "core.sparseCheckout=true")
# Of higher precedence than any .gitattributes in the tree (gitattributes(5)): a checkout has the very bytes that git has.
NO_ATTRIBUTES = "* -text -eol -working-tree-encoding -ident -filter !merge\n"


class Checkout:
    """A working tree at `folder`; `tip` is the commit of the branch when it was made, and what a push expects to find."""

    def __init__(self, folder: Path, branch: str, tip: str | None) -> None:
        self.folder, self.branch, self.tip = folder, branch, tip

    def git(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        return run(self.folder, *arguments, stdin=stdin)

    def commit(self, message: str) -> str:
        """Commit everything that changed, with a one-line message; return the commit id. Raises Conflict when nothing changed."""
        # forced: a .gitignore that anybody pushed must not hide a step of the bot or an approval
        self.git("add", "--all", "--force", "--sparse")
        try:
            self.git("commit", "-q", "-m", one_line(message))
        except Unavailable:
            if self.git("status", "--porcelain").strip():
                raise
            raise Conflict(f"nothing to commit on {self.branch}: it says so already") from None
        return self.git("rev-parse", "HEAD").decode().strip()

    def apply(self, changes: Iterable[FileChange]) -> None:
        """Bring each file to the state after its change, whatever is checked out; nothing is merged."""
        entries = "".join(f"{c.mode if c.after else 0} {c.after or NOTHING}\t{c.path}\0" for c in changes)
        # in an index of its own: the checkout's must still know which files go
        beside = {"GIT_INDEX_FILE": str(self.folder / ".git" / "applied")}
        run(self.folder, "read-tree", "HEAD", environment=beside)
        run(self.folder, "update-index", "-z", "--index-info", stdin=os.fsencode(entries), environment=beside)
        tree = run(self.folder, "write-tree", environment=beside).decode().strip()
        self.git("read-tree", "-u", "--reset", tree)

    def push(
        self, branch: str | None = None, *, expected: str | None, delete: tuple[str, str] | None = None
    ) -> None:
        """Push HEAD to `branch` if it still points at `expected` (None: must not exist), all or nothing. Raises Conflict, or Refused by
        the receiving repository's hook.

        `delete` (branch, commit) takes that branch away in the same push, if it still points there. Never rewrites history.
        """
        branch = branch or self.branch
        references = [f"HEAD:refs/heads/{branch}"]
        leases = [f"--force-with-lease=refs/heads/{branch}:{expected or ''}"]
        if expected is not None and not self._descends(expected):
            raise Conflict(f"{branch} has history that this commit does not contain")
        if delete:
            references.append(f":refs/heads/{delete[0]}")
            leases.append(f"--force-with-lease=refs/heads/{delete[0]}:{delete[1]}")
        try:
            self.git("push", "-q", "--atomic", *leases, "origin", *references)
        except Unavailable as error:
            if "hook declined" in str(error):
                said = DECLINED.search(str(error))
                why = (said["rule"], said["what"]) if said else ("push", f"a hook of the repository: {error}")
                raise Refused(*why) from error
            if any(word in str(error) for word in RACED):
                raise Conflict(f"{branch} was changed by somebody else meanwhile; run it again") from error
            raise

    def _descends(self, commit: str) -> bool:
        # a status, not an error: 1 says that it does not
        return attempt(self.folder, "merge-base", "--is-ancestor", commit, "HEAD").returncode == 0


def shield(git: Path, folders: Sequence[str]) -> None:
    """Make a checkout in this new clone (made with `SPARSE`) hold `folders` alone, byte for byte, whatever the tree says of itself."""
    (git / "info").mkdir(exist_ok=True)
    (git / "info" / "attributes").write_text(NO_ATTRIBUTES)
    (git / "info" / "sparse-checkout").write_text("".join(f"/{folder}/\n" for folder in folders))


def one_line(message: str) -> str:
    """A commit message without line ends and control characters, at most 200 characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())[:200]
