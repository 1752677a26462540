"""One run of git, deaf to the machine's and the user's configuration, hooks, replacements and grafts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from medtower.errors import NotFound, Unavailable

AUTHOR, EMAIL = "Medtower", "medtower@localhost"


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


def attempt(folder: Path, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git in `folder` and return what it did, whatever that was. Raises Unavailable without git, NotFound without the folder."""
    options = (
        "-c",
        f"core.hooksPath={os.devnull}",
        "-c",
        "gc.auto=0",
        "-c",
        "core.autocrlf=false",
        "-c",
        "advice.detachedHead=false",
        # named by whoever runs this, not guessed: in a cluster the repository belongs to the git server's user
        "-c",
        f"safe.directory={folder}",
    )
    try:
        return subprocess.run(
            ["git", *options, *arguments],
            cwd=folder,
            env=_environment(),
            input=stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        if Path(folder).is_dir():
            raise Unavailable("git", "it is not installed; install the package git") from error
        raise NotFound("a folder", str(folder)) from error


def run(folder: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    """Run git in `folder` and return its output. Raises Unavailable with git's own words."""
    done = attempt(folder, *arguments, stdin=stdin)
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[-400:]
        raise Unavailable("git", f"git {arguments[0]} failed: {words}")
    return done.stdout
