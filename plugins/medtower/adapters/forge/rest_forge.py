"""Pull requests over REST as GitHub and Gitea share them; where they differ, a subclass says how."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from medtower.adapters.forge.pull_request import CHECK, Opinion, PullRequest, Review
from medtower.adapters.forge.rest import Rest
from medtower.adapters.git import MAIN
from medtower.errors import Conflict, InvalidInput, Refused

OPINIONS: dict[str, Opinion] = {
    "APPROVED": "approved",
    "CHANGES_REQUESTED": "changes requested",
    "REQUEST_CHANGES": "changes requested",
    "COMMENTED": "commented",
    "COMMENT": "commented",
    "DISMISSED": "dismissed",
    "PENDING": "pending",
}
LONGEST_BODY = 60_000  # GitHub takes 65,536 characters
T = TypeVar("T")


class _Repo(BaseModel):
    full_name: str


class _Head(BaseModel):
    ref: str
    sha: str
    repo: _Repo | None


class _Pull(BaseModel):
    number: int
    state: Literal["open", "closed"]
    title: str
    body: str | None
    html_url: str
    head: _Head
    merged_at: datetime | None
    merge_commit_sha: str | None = None

    def told(self) -> PullRequest:
        merged = self.merged_at is not None
        return PullRequest(
            number=self.number,
            branch=self.head.ref,
            head=self.head.sha,
            title=self.title,
            body=self.body or "",
            state="merged" if merged else self.state,
            url=self.html_url,
            merged_as=self.merge_commit_sha if merged else None,
        )


class _User(BaseModel):
    login: str


class _Review(BaseModel):
    user: _User | None
    state: str
    commit_id: str | None
    submitted_at: datetime | None = None
    dismissed: bool = False


class RestForge(ABC):
    """The pull requests of `repository` (`owner/name`)."""

    def __init__(self, rest: Rest, repository: str) -> None:
        self._rest, self._repository = rest, repository
        self._at = f"/repos/{repository}"

    def open(self, branch: str, title: str, body: str, base: str = MAIN) -> PullRequest:
        body = _shortened(body)
        found = self._open_one(branch, base)
        if found is None:
            wanted = {"title": title, "body": body, "head": branch, "base": base}
            try:
                return self._pull(self._rest.post(f"{self._at}/pulls", wanted))
            except (Conflict, InvalidInput):
                found = self._open_one(branch, base)  # somebody else opened it meanwhile
                if found is None:
                    raise
        if (found.title, found.body) == (title, body):
            return found
        return self._pull(
            self._rest.patch(f"{self._at}/pulls/{found.number}", {"title": title, "body": body})
        )

    def list(self, state: Literal["open", "closed", "all"] = "open") -> builtins.list[PullRequest]:
        return self._pulls(state=state)

    def comment(self, number: int, text: str) -> None:
        self._rest.post(f"{self._at}/issues/{number}/comments", {"body": _shortened(text)})

    def reviews(self, number: int) -> builtins.list[Review]:
        path = f"{self._at}/pulls/{number}/reviews"
        found = [self._as(_Review, each) for each in self._rest.pages(path)]
        given = [
            Review(
                author=r.user.login if r.user else "somebody whose account is gone",
                state="dismissed" if r.dismissed else OPINIONS[r.state],
                commit=r.commit_id or "",
                at=r.submitted_at,
            )
            for r in found
            if r.submitted_at is not None and r.state in OPINIONS
        ]
        return sorted(given, key=lambda r: r.at)

    def merge(self, number: int, expected_head: str) -> str:
        found = self._get(number)
        if found.merged_as:
            return found.merged_as
        if found.state != "open":
            raise Conflict(f"pull request {number} is closed; run medtower propose again")
        if found.head != expected_head:
            raise Conflict(f"{found.branch} was changed by somebody else meanwhile; read it and run it again")
        self._check_green(expected_head)
        self._squash(found)
        merged = self._get(number).merged_as
        if merged is None:
            raise Conflict(f"pull request {number} is not merged yet; run it again")
        return merged

    def _check_green(self, commit: str) -> None:
        result = self._check_result(commit)
        if result != "success":
            raise Refused(
                "check",
                f"the required check `{CHECK}` of {commit[:10]} is {result}; merge when it has succeeded",
            )

    @abstractmethod
    def _check_result(self, commit: str) -> str:
        """ "success", or one word for what the required check of `commit` is instead."""

    @abstractmethod
    def _squash(self, pull: PullRequest) -> None:
        """Merge as one commit named like the pull request, if its head is still the same."""

    def _open_one(self, branch: str, base: str, **query: str | int) -> PullRequest | None:
        found = [p for p in self._pulls(state="open", base=base, **query) if p.branch == branch]
        return found[0] if found else None

    def _pulls(self, **query: str | int) -> builtins.list[PullRequest]:
        """Of this repository's own branches: a fork's branch of the same name is another branch."""
        found = [self._as(_Pull, each) for each in self._rest.pages(f"{self._at}/pulls", **query)]
        ours = self._repository.casefold()
        return [p.told() for p in found if p.head.repo and p.head.repo.full_name.casefold() == ours]

    def _get(self, number: int) -> PullRequest:
        return self._pull(self._rest.get(f"{self._at}/pulls/{number}"))

    def _pull(self, answer: Any) -> PullRequest:
        return self._as(_Pull, answer).told()

    def _as(self, kind: type[T], answer: Any) -> T:
        try:
            return TypeAdapter(kind).validate_python(answer)
        except ValidationError:
            raise self._rest.garbled(self._at) from None


def _shortened(body: str) -> str:
    if len(body) <= LONGEST_BODY:
        return body
    cut = body[:LONGEST_BODY].rpartition("\n")[0]
    return f"{cut}\n\n(The page is longer than this forge shows; the whole of it is in the branch.)\n"
