"""A git repository: its branches, trees and files."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medtower.adapters.git_checkout import SPARSE, Checkout, shield
from medtower.adapters.git_process import attempt, first_line_and_rest, run
from medtower.domain.file_change import PLAIN_FILE
from medtower.domain.tree import MODELS, TRUST
from medtower.errors import NotFound, Refused, Unavailable

MAIN = "main"
COMMIT_ID = re.compile(r"[0-9a-f]{40}")
LONGEST_NAME = 255  # bytes; ext4, XFS and tmpfs allow no more
LARGEST_EXPORT = 256 << 20
RELEASED = (MODELS, TRUST)
NO_FILE = "a folder or a submodule where a plain file belongs; restore it"
LOST = "damaged or lost in"
LAST_SECOND = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Commit:
    """One commit: `at` in UTC as its committer said it (not to be trusted), `subject` its first line."""

    id: str
    at: datetime
    subject: str

    def __str__(self) -> str:
        return f"{self.id[:10]} {self.at:%Y-%m-%d %H:%M:%SZ} {self.subject}"


@dataclass(frozen=True)
class Entry:
    """One name in a tree: `kind` blob, tree or commit (submodule). Bytes of `path` that are not UTF-8 are surrogates, as in `os.fsdecode`."""

    mode: str
    kind: str
    id: str
    path: str
    size: int = 0  # bytes of a blob


class Repository:
    """A repository at `path`, bare or not. Raises NotFound when there is none.

    `quarantine` are git's own variables that let a receiving hook see what is being pushed (git_process.quarantine).
    """

    def __init__(self, path: Path, *, quarantine: Mapping[str, str] | None = None) -> None:
        self.path = path.absolute()
        self._quarantine = dict(quarantine or {})
        if not (self.path / "HEAD").is_file() and not (self.path / ".git").exists():
            raise NotFound("a git repository", str(self.path), "start the tower, or set MEDTOWER_REPOSITORY")

    @classmethod
    def create(cls, path: Path) -> Repository:
        """Make an empty bare repository whose default branch is main; an existing one is taken as it is."""
        path = path.absolute()
        if not (path / "HEAD").is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            run(path.parent, "init", "-q", "--bare", "--template=", f"--initial-branch={MAIN}", str(path))
        return cls(path)

    def git(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run a git command here and return its output. Raises Unavailable with git's own words."""
        return run(self.path, *arguments, stdin=stdin, environment=self._quarantine)

    def head(self, branch: str = MAIN) -> str | None:
        """The commit id that `branch` points at, or None. Reads the ref's file first: cheap enough to poll."""
        try:
            text = (self.path / "refs" / "heads" / branch).read_text().strip()
        except OSError:
            text = ""
        if COMMIT_ID.fullmatch(text):
            return text
        found = self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}").decode().strip()
        return found or None

    def head_commit(self) -> str:
        """The commit that is checked out here, with `-dirty` when files of it were changed since."""
        commit = self.git("rev-parse", "HEAD").decode().strip()
        changed = self.git("status", "--porcelain", "--untracked-files=no").strip()
        return f"{commit}-dirty" if changed else commit

    def branches(self, prefix: str = "") -> list[str]:
        out = self.git("for-each-ref", "--format=%(refname:lstrip=2)", f"refs/heads/{prefix}").decode()
        return out.split()

    def entries(self, treeish: str, *, recursive: bool = False) -> list[Entry]:
        """What lies in a tree (`main:triton_models`); empty when the path is not there."""
        flags = ("-r",) if recursive else ()
        try:
            listed = os.fsdecode(self.git("ls-tree", "-z", "-l", *flags, treeish))
        except Unavailable:
            if self._kind(treeish):
                raise
            return []
        found = []
        for line in filter(None, listed.split("\0")):
            meta, _, path = line.partition("\t")
            mode, kind, identity, size = meta.split()
            found.append(Entry(mode, kind, identity, path, int(size) if size.isdigit() else 0))
        return found

    def read(self, ref: str, path: str) -> bytes | None:
        """The bytes of `path` at `ref`; None when it is not there. Raises Refused when they are too many, or when it is no file."""

        def size(line: bytes) -> int:
            return 0 if line.endswith(b" missing\n") else _size(path, line)

        asked = os.fsencode(f"{ref}:{path}\n")
        line, content = first_line_and_rest(
            self.path, "cat-file", "--batch", stdin=asked, environment=self._quarantine, wanted=size
        )
        if not line.endswith(b" missing\n"):
            if len(content) < size(line):
                raise Unavailable("git", f"the object of {path} in {self.path} is damaged")
            return content
        kind = self._kind(f"{ref}:{path}")
        if kind == "commit":
            raise Refused("tree", f"{path} is {NO_FILE}")
        if kind:
            raise Unavailable("git", f"the object of {path} is {LOST} {self.path}")
        return None

    def export(self, treeish: str, to: Path) -> None:
        """Write the plain files under `treeish` into the new folder `to`, whole or not at all.

        Reads objects, not `git archive`: attributes in the tree could hide or rewrite files there. Raises Refused for links, submodules, names
        that are not printable text of at most 255 bytes, and more than 256 MiB.
        """
        entries = self.entries(treeish, recursive=True)
        for entry in entries:
            _check_name(entry.path)
            if entry.mode not in PLAIN_FILE or ".." in Path(entry.path).parts:
                raise Refused(
                    "tree", f"{entry.path} is a link or a submodule; only plain files may be released"
                )
        _check_size(treeish, sum(entry.size for entry in entries))
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as folder:
            inside = Path(folder) / to.name
            inside.mkdir()
            for entry, content in zip(entries, self.contents([e.id for e in entries]), strict=True):
                place = inside / entry.path
                place.parent.mkdir(parents=True, exist_ok=True)
                if content is None:
                    raise Unavailable("git", f"the object of {entry.path} is {LOST} {self.path}")
                place.write_bytes(content)
            inside.rename(to)

    def log(self, ref: str = MAIN, path: str | None = None, *, limit: int | None = None) -> list[Commit]:
        """Newest first, along the first parents."""
        flags = ["--first-parent", "--format=%H%x1f%ct%x1f%s"] + ([f"-{limit}"] if limit else [])
        out = self.git("log", *flags, ref, "--", *([path] if path else [])).decode(errors="replace")
        commits = []
        for line in filter(None, out.split("\n")):
            identity, at, subject = line.split("\x1f", 2)
            commits.append(Commit(identity, _instant(at), subject))
        return commits

    @contextmanager
    def checkout(self, branch: str = MAIN, folders: Sequence[str] = RELEASED) -> Iterator[Checkout]:
        """A throw-away clone with `branch` checked out (an empty repository: an unborn main). Raises NotFound.

        Only `folders` are written to the disk: what else anybody pushed (a path too long for a disk, a million files) stops no release and no
        rollback. Commits keep it as it is.
        """
        with tempfile.TemporaryDirectory(prefix="medtower-git-") as folder:
            place = Path(folder) / "work"
            # its objects stay where they are: nothing is copied for a tree that is gone in a second
            clone = ("clone", "-q", "--template=", "--no-checkout", "--shared")
            run(Path(folder), *clone, *SPARSE, str(self.path), str(place))
            shield(place / ".git", folders)
            tip = self.head(branch)
            if tip:
                run(place, "checkout", "-q", "-B", branch, tip)
            elif branch == MAIN and not self.branches():
                run(place, "symbolic-ref", "HEAD", f"refs/heads/{MAIN}")
            else:
                raise NotFound(f"branch {branch}", str(self.path))
            yield Checkout(place, branch, tip)

    def commit_id(self, name: str) -> str:
        """The commit that a branch, tag or abbreviation means. Raises NotFound."""
        found = attempt(
            self.path, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
        if found.returncode:
            raise NotFound(f"the commit {name[:100]}", str(self.path), "fetch it first")
        return found.stdout.decode().strip()

    def is_ancestor(self, old: str, new: str) -> bool:
        """True when `new` contains the history of `old`."""
        # a status, not an error: 1 says that it does not
        asked = ("merge-base", "--is-ancestor", old, new)
        return attempt(self.path, *asked, environment=self._quarantine).returncode == 0

    def _kind(self, name: str) -> str:
        """What trees say that `name` (`commit:path`, or an id) is, though its own object may be lost; empty when it is not there. Raises Unavailable
        where the trees themselves cannot be read."""
        ref, _, path = name.partition(":")
        asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", ref)
        if attempt(self.path, *asked, environment=self._quarantine).returncode == 1:
            return ""
        entry = self.git("ls-tree", "-z", "--full-tree", ref, "--", *([path] if path else [])).split()
        if not path:
            return "tree"
        return entry[1].decode() if entry else ""

    def contents(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes of each object (`commit:path` or an id), in order; None for one that is not there. Raises Unavailable for a path whose object is
        lost or damaged."""
        out = self.git("cat-file", "--batch", stdin="".join(f"{name}\n" for name in names).encode())
        found: list[bytes | None] = []
        start = 0
        for name in names:
            end = out.index(b"\n", start)
            if out[start:end].endswith(b" missing"):
                if ":" in name and self._kind(name) == "blob":
                    raise Unavailable("git", f"the object of {name} is {LOST} {self.path}")
                found.append(None)
                start = end + 1
                continue
            size = int(out[start:end].split()[2])
            found.append(out[end + 1 : end + 1 + size])
            start = end + size + 2
        return found


def seed(bare: Path, models: Path) -> Repository:
    """Make `bare` with one commit on main that holds the git-tracked files under `models` as triton_models/. An existing one is kept.

    Files are taken as they lie in the work tree; outside a git repository all plain files are taken.
    """
    repository = Repository.create(bare)
    if repository.head() is not None:
        return repository
    with repository.checkout() as work:
        for name in _tracked(models):
            target = work.folder / MODELS / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(models / name, target)
        work.commit("Start with the models of this tree")
        work.push(MAIN, expected=None)
    return repository


def _tracked(models: Path) -> list[str]:
    listed = attempt(models, "ls-files", "-z", "--cached")
    if listed.returncode:
        names = [str(p.relative_to(models)) for p in sorted(models.rglob("*"))]
    else:
        names = listed.stdout.decode().split("\0")
    return [n for n in names if n and (models / n).is_file() and not (models / n).is_symlink()]


def _check_name(path: str) -> None:
    if not path.isprintable() or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.split("/")):
        shown = ascii(path[:100])[1:-1]
        raise Refused("tree", f"{shown} is not a name of printable text of at most {LONGEST_NAME} bytes")


def _size(path: str, line: bytes) -> int:
    """The bytes of the file that `git cat-file --batch` announces. Raises Refused for what is no file, and for too many."""
    fields = line.split()
    if len(fields) != 3:
        raise Unavailable("git", f"git cat-file gave no answer for {path}")
    if fields[1] != b"blob":
        raise Refused("tree", f"{path} is {NO_FILE}")
    _check_size(path, int(fields[2]))
    return int(fields[2])


def _check_size(place: str, size: int) -> None:
    if size > LARGEST_EXPORT:
        raise Refused("tree", f"{place} holds more than {LARGEST_EXPORT >> 20} MiB; weights belong in MLflow")


def _instant(seconds: str) -> datetime:
    """A commit's own time, held inside the calendar: it may say the year 3 million, or nothing."""
    return datetime.fromtimestamp(min(max(int(seconds or 0), 0), LAST_SECOND), UTC)
