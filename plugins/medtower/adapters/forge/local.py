"""Pull requests without a forge: the branches of the bare repository, and what is said of them in refs beside them.

`refs/medtower/pulls/<number>` points at a blob with the title, the text and the comments. Git replaces a ref whole or not at all, backs it up
with the repository, and hides it from clones.
"""

from __future__ import annotations

import builtins
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medtower.adapters.forge.pull_request import PullRequest, Review
from medtower.adapters.git import MAIN, Repository
from medtower.domain.release import Statement
from medtower.errors import Conflict, NotFound, Refused, Unavailable

REFS = "refs/medtower/pulls/"
ATTEMPTS = 20
NOBODY = "0" * 40


class Comment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    at: datetime


class Record(BaseModel):
    """What is kept of one pull request; whether it is open, its branch says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    branch: str
    base: str
    title: str
    body: str
    comments: list[Comment] = []


class LocalForge:
    """A branch has one pull request, which is open while the branch is there."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def open(self, branch: str, title: str, body: str, base: str = MAIN) -> PullRequest:
        if self._repository.head(branch) is None:
            raise NotFound(f"branch {branch}", str(self._repository.path))
        for _ in range(ATTEMPTS):
            records = self._records()
            number = next((n for n, r in records.items() if r.branch == branch), max(records, default=0) + 1)
            old = records.get(number)
            new = Record(
                branch=branch, base=base, title=title, body=body, comments=old.comments if old else []
            )
            if new == old or self._replace(number, old, new):
                return self._told(number, new)
        raise Conflict(f"the pull requests of {self._repository.path.name} change all the time; run it again")

    def list(self, state: Literal["open", "closed", "all"] = "open") -> builtins.list[PullRequest]:
        told = [self._told(number, record) for number, record in self._records().items()]
        return [p for p in told if state in ("all", p.state)]

    def comment(self, number: int, text: str) -> None:
        said = Comment(text=text, at=datetime.now(UTC).replace(microsecond=0))
        for _ in range(ATTEMPTS):
            old = self._record(number)
            if self._replace(number, old, old.model_copy(update={"comments": [*old.comments, said]})):
                return
        raise Conflict(f"pull request {number} changes all the time; run it again")

    def comments(self, number: int) -> builtins.list[Comment]:
        return builtins.list(self._record(number).comments)

    def reviews(self, number: int) -> builtins.list[Review]:
        """The statements on the branch, as they say it themselves: here nothing is verified."""
        record = self._record(number)
        tip = self._repository.head(record.branch)
        if tip is None:
            return []
        changed = self._repository.git("diff", "--name-only", "-z", f"{record.base}...{tip}").decode(
            "utf-8", "replace"
        )
        places = [p for p in changed.split("\0") if "/approvals/" in p and p.endswith(".json")]
        found = [self._review(tip, place) for place in places]
        return sorted((r for r in found if r), key=lambda r: r.at)

    def merge(self, number: int, expected_head: str) -> str:
        what = f"pull request {number} ({expected_head[:10]})"
        raise Refused(
            "forge", f"no forge stands before this repository: `medtower merge` checks and merges {what}"
        )

    def _review(self, tip: str, place: str) -> Review | None:
        try:
            said = Statement.model_validate_json(self._repository.read(tip, place) or b"")
        except ValidationError:
            return None
        return Review(said.approver, "approved", tip, said.signed_at)

    def _records(self) -> dict[int, Record]:
        names = self._repository.git("for-each-ref", "--format=%(refname)", REFS).decode().split()
        numbers = sorted(int(n.removeprefix(REFS)) for n in names if n.removeprefix(REFS).isdecimal())
        return {n: self._record(n) for n in numbers}

    def _record(self, number: int) -> Record:
        if not self._repository.git("for-each-ref", f"{REFS}{number}"):
            raise NotFound(f"pull request {number}", str(self._repository.path))
        try:
            return Record.model_validate_json(self._repository.git("cat-file", "blob", f"{REFS}{number}"))
        except ValidationError:
            raise Unavailable("pull requests", f"{REFS}{number} does not hold one; delete that ref") from None

    def _replace(self, number: int, old: Record | None, new: Record) -> bool:
        """False when somebody else was first."""
        expected = self._write(old) if old else NOBODY
        try:
            self._repository.git("update-ref", f"{REFS}{number}", self._write(new), expected)
        except Unavailable as error:
            if "cannot lock ref" in str(error):
                return False
            raise
        return True

    def _write(self, record: Record) -> str:
        content = record.model_dump_json(indent=1).encode()
        return self._repository.git("hash-object", "-w", "--stdin", stdin=content).decode().strip()

    def _told(self, number: int, record: Record) -> PullRequest:
        tip = self._repository.head(record.branch)
        return PullRequest(
            number=number,
            branch=record.branch,
            head=tip or "",
            title=record.title,
            body=record.body,
            state="open" if tip else "closed",
            url=f"{self._repository.path.as_uri()}#{record.branch}",
        )
