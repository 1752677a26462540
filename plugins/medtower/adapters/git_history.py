"""The history of a branch as its first parents tell it: the steps from one commit to another, and what each step changed."""

from __future__ import annotations

import os
from dataclasses import dataclass

from medtower.adapters.git import Repository
from medtower.adapters.git_checkout import NOTHING
from medtower.domain.file_change import FileChange
from medtower.errors import Conflict, Refused, Unavailable

# the tree without files, which git knows without having it
EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@dataclass(frozen=True)
class Step:
    """One commit of a branch. `parent` is the branch before it; `merged` are further parents."""

    commit: str
    parent: str
    merged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Revision:
    """The content of one file at a commit that changed it (None: removed), and the branch before (None: no commit was there)."""

    commit: str
    parent: str | None
    content: bytes | None


def steps(repository: Repository, old: str, new: str) -> list[Step]:
    """The steps from `old` to `new`, oldest first. Raises Refused (history) unless `old` is on the line of first parents of `new`, whole."""
    check_whole(repository)
    lines = repository.git("rev-list", "--first-parent", "--reverse", "--parents", new, f"^{old}").decode()
    found = [
        Step(commit, parents[0] if parents else "", tuple(parents[1:]))
        for commit, *parents in map(str.split, lines.splitlines())
    ]
    if (found and found[0].parent != old) or (not found and old != new):
        raise Refused(
            "history",
            f"{new[:10]} does not continue {old[:10]} along first parents; commit on top of it, never beside or before it",
        )
    return found


def check_whole(repository: Repository) -> None:
    """Raise Refused where history is cut off: what was taken back could not be known there."""
    if repository.git("rev-parse", "--is-shallow-repository").strip() != b"false":
        raise Refused(
            "history", "the clone is shallow; fetch all of it (git fetch --unshallow, or fetch-depth: 0)"
        )


def changes(repository: Repository, old: str, new: str) -> list[FileChange]:
    """The files that differ from `old` to `new` (commits or trees), one by one, without any guess at renames."""
    out = os.fsdecode(
        repository.git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new)
    )
    fields = iter(out.split("\0"))
    found = []
    for meta in fields:
        if meta:
            _, mode, before, after, _ = meta.removeprefix(":").split()
            found.append(FileChange(next(fields), _id(before), _id(after), mode))
    return found


def _id(name: str) -> str | None:
    return None if name == NOTHING else name


def revisions(repository: Repository, ref: str, path: str) -> list[Revision]:
    """Every content that `path` had on the way to `ref` along first parents, oldest first."""
    lines = repository.git("log", "--first-parent", "--reverse", "--format=%H %P", ref, "--", path).decode()
    commits = [line.split() for line in lines.splitlines()]
    contents = repository.contents([f"{commit}:{path}" for commit, *_ in commits])
    return [
        Revision(commit, parents[0] if parents else None, content)
        for (commit, *parents), content in zip(commits, contents, strict=True)
    ]


def squashed(repository: Repository, base: str, head: str) -> str:
    """A commit on top of `base` with what merging `head` would give; no branch points at it. Raises Conflict when git cannot merge them."""
    try:
        tree = repository.git("merge-tree", "--write-tree", base, head).decode().split()[0]
    except Unavailable as error:
        raise Conflict(f"{head} does not merge with {base}: {error}") from error
    return repository.git("commit-tree", "-p", base, "-m", "Squashed", tree).decode().strip()
