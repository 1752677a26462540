"""What every forge has: pull requests, their comments and reviews, and one way to merge them."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from medtower.adapters.git import MAIN

Kind = Literal["github", "gitea"]
State = Literal["open", "closed", "merged"]
Opinion = Literal["approved", "changes requested", "commented", "dismissed", "pending"]
CHECK = (
    "medtower check"  # the required check: the job's name in the workflow that `medtower init-repo` writes
)
WORKFLOW = "medtower"
EVENT = "pull_request_target"  # the one on which a forge runs the workflow of the branch that is merged into


def run_title(commit: str) -> str:
    """What a run of the check is called on the forge."""
    return f"{CHECK} of {commit}"


@dataclass(frozen=True)
class PullRequest:
    """A proposal to merge `branch`, whose tip is the commit `head`. `url` is where people read it; `merged_as` the commit on main, once merged."""

    number: int
    branch: str
    head: str
    title: str
    body: str
    state: State
    url: str
    merged_as: str | None = None


@dataclass(frozen=True)
class Review:
    """What `author` said of the commit `commit`. Opinions help people; what lets a version serve are the signed approvals."""

    author: str
    state: Opinion
    commit: str
    at: datetime


class Forge(Protocol):
    """Raises Unavailable and DeadlineExceeded when it does not answer, Refused when it does not let this token, NotFound, Conflict, InvalidInput."""

    def open(self, branch: str, title: str, body: str, base: str = MAIN) -> PullRequest:
        """The open pull request of `branch` with this title and body: a new one, or the one that is there, updated."""
        ...

    def list(self, state: Literal["open", "closed", "all"] = "open") -> builtins.list[PullRequest]: ...

    def comment(self, number: int, text: str) -> None: ...

    def reviews(self, number: int) -> builtins.list[Review]:
        """All reviews, oldest first."""
        ...

    def merge(self, number: int, expected_head: str) -> str:
        """Merge as one squash commit named like the pull request and return its id; when it is merged already, the same id.

        Raises Refused while the required check is not green, Conflict when the branch is not at `expected_head`.
        """
        ...
