"""One run of git, deaf to the machine's and the user's configuration, hooks, replacements and grafts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, cast

from medtower.errors import DeadlineExceeded, NotFound, Unavailable

AUTHOR, EMAIL = "Medtower", "medtower@localhost"
QUARANTINE = ("GIT_QUARANTINE_PATH", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")


def quarantine() -> dict[str, str]:
    """Where git keeps what is being pushed while a receiving hook decides (git-receive-pack(1), QUARANTINE ENVIRONMENT)."""
    return {name: os.environ[name] for name in QUARANTINE if name in os.environ}


def _environment() -> dict[str, str]:
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", AUTHOR), ("EMAIL", EMAIL))
    }
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        **identity,
    }


def attempt(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    seconds: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git in `folder` and return what it did, whatever that was. `environment` is what it sees beside its own few variables.

    Raises Unavailable without git, NotFound without the folder, DeadlineExceeded when it takes longer than `seconds`.
    """
    with _missing(folder):
        try:
            return subprocess.run(
                _command(folder, arguments),
                cwd=folder,
                env={**_environment(), **environment},
                input=stdin,
                capture_output=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise DeadlineExceeded(f"git {arguments[0]}", error.timeout) from None


@contextmanager
def _missing(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if Path(folder).is_dir():
            raise Unavailable("git", "it is not installed; install the package git") from error
        raise NotFound("a folder", str(folder)) from error


def _command(folder: Path, arguments: Sequence[str]) -> list[str]:
    options = (
        "-c",
        f"core.hooksPath={os.devnull}",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=false",
        "-c",
        "core.autocrlf=false",
        "-c",
        "advice.detachedHead=false",
        # named by whoever runs this, not guessed: in a cluster the repository belongs to the git server's user
        "-c",
        f"safe.directory={folder}",
    )
    return ["git", *options, *arguments]


def first_line_and_rest(
    folder: Path,
    *arguments: str,
    stdin: bytes,
    environment: Mapping[str, str],
    wanted: Callable[[bytes], int],
) -> tuple[bytes, bytes]:
    """Run git, read the first line of what it prints, and then as many bytes as `wanted` says of that line; nothing more is taken in.

    Raises what `wanted` raises, Unavailable without git, NotFound without the folder.
    """
    with (
        _missing(folder),
        subprocess.Popen(
            _command(folder, arguments),
            cwd=folder,
            env={**_environment(), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        into, out = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        try:
            with suppress(BrokenPipeError):  # it has ended already, and says nothing
                into.write(stdin)
                into.close()
            line = out.readline()
            return line, out.read(wanted(line))
        finally:
            process.kill()


def run(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Run git in `folder` and return its output. Raises Unavailable with git's own words."""
    done = attempt(folder, *arguments, stdin=stdin, environment=environment)
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[-1000:]
        raise Unavailable("git", f"git {arguments[0]} failed: {words}")
    return done.stdout
