"""The receiving hook of a bare repository: what every push must pass, whoever pushes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from medtower.adapters.git import Repository
from medtower.adapters.git_process import QUARANTINE
from medtower.atomic_file import write

NAME = "pre-receive"
# The repository's own word about itself: it counts before the configuration of whoever pushes over a local path.
CONFIGURED = {
    "core.hooksPath": "hooks",
    "receive.fsckObjects": "true",
    "receive.shallowUpdate": "false",
    "core.logAllRefUpdates": "true",
}


JUDGED = """
while read -r old new ref || [ -n "$old" ]; do
  case $ref in
    {free}) ;;
    *) judged=yes ;;
  esac
  pushed="$pushed$old $new $ref
"
done
[ -n "$judged" ] || exit 0
printf %s "$pushed" |"""


def install(
    repository: Repository, command: Sequence[str], environment: Mapping[str, str], free: Sequence[str]
) -> Path:
    """Make `command` decide about pushes to the bare `repository`, in `environment` and nothing else; return the hook's path.

    A push of nothing but refs that begin with one of `free` is taken without it, which spares a process's start at each approval. A push over a
    local path runs the hook in the pusher's environment: only what git itself says of the push is passed on, so that nobody pushes with a trust
    root or a Python path of their own.
    """
    for name, value in CONFIGURED.items():
        repository.git("config", name, value)
    path = repository.path / "hooks" / NAME
    path.parent.mkdir(exist_ok=True)
    write(path, _script(command, environment, free).encode(), mode=0o755)
    return path


def _script(command: Sequence[str], environment: Mapping[str, str], free: Sequence[str]) -> str:
    fixed = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **environment}
    said = [f"{name}={shlex.quote(value)}" for name, value in fixed.items()]
    passed = [f'${{{name}:+"{name}=${name}"}}' for name in QUARANTINE]
    words = " \\\n  ".join([*said, *passed, shlex.join(command)])
    return (
        "#!/bin/sh\n# Written by medtower whenever the tower starts: the release policy, at the door.\n"
        f"judged= pushed={JUDGED.format(free=' | '.join(f'{shlex.quote(name)}*' for name in free))}\n"
        f"  /usr/bin/env -i \\\n  {words}\n"
    )
