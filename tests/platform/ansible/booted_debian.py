"""A Debian system booted by its own systemd in namespaces, on an overlay of a cached tree.

It has a network of its own with nothing but a loopback device, so that it neither reaches nor disturbs the host.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medtower import wait

BOOT_SCRIPT = Path(__file__).with_name("boot.sh")
NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")


@dataclass(frozen=True)
class BootedDebian:
    """A running system; ``pid`` is its systemd as the host sees it."""

    pid: int

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command inside; raises CalledProcessError when it fails."""
        enter = ["nsenter", f"--target={self.pid}", "--pid", "--mount", "--uts", "--ipc", "--net", "--"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=True, timeout=60)

    def fetch(self, url: str) -> str:
        """The body that an HTTP address answers with, asked from inside."""
        return self.run(
            "python3",
            "-c",
            f"import urllib.request as u; print(u.urlopen({url!r}, timeout=10).read().decode())",
        ).stdout


@contextmanager
def booted(tree: Path) -> Iterator[BootedDebian]:
    """Boots ``tree``; at the end shuts it down and leaves no process, mount, cgroup or file."""
    scratch = Path(tempfile.mkdtemp(prefix="medtower-boot-"))
    cgroup = Path(tempfile.mkdtemp(prefix="medtower-test-", dir=cgroup2_mount()))
    enter = f'echo $$ > "{cgroup}/cgroup.procs" && exec "$@"'
    # setpriv and --kill-child: if the tests die, so does the system.
    unshare = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child"]
    init = ["/bin/sh", str(BOOT_SCRIPT), str(tree), str(scratch)]
    with (scratch / "boot.log").open("w+") as log:
        process = subprocess.Popen(["/bin/sh", "-c", enter, "sh", *unshare, *init], stdout=log, stderr=log)
        try:
            yield _running(process, scratch / "boot.log")
        finally:
            _stop(process)
            _remove_cgroup(cgroup)
            shutil.rmtree(scratch)


def cgroup2_mount() -> Path | None:
    """Where the host has mounted cgroup2 so that this process may write there; None if nowhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        path = Path(before.split()[4])
        if after.split()[0] == "cgroup2" and os.access(path, os.W_OK):
            return path
    return None


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Polls ``condition``; raises TimeoutError naming ``what`` when it stays false for ``seconds``."""
    if not wait.wait_until(condition, seconds):
        raise TimeoutError(f"{what}: not within {seconds:.0f} s")


def _running(process: subprocess.Popen[bytes], log: Path) -> BootedDebian:
    def up() -> bool:
        if process.poll() is not None:
            raise RuntimeError(
                f"the system did not boot (exit {process.returncode}): {log.read_text()[-2000:]}"
            )
        child = _child(process)
        return child is not None and _state(child) == "running"

    wait_until(up, "systemd inside reaches the state running")
    child = _child(process)
    assert child is not None
    return BootedDebian(child)


def _child(process: subprocess.Popen[bytes]) -> int | None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None


def _state(pid: int) -> str:
    # Before pivot_root the namespaces are new but the root directory is the host's: do not ask its systemctl.
    if Path(f"/proc/{pid}/comm").read_text().strip() != "systemd":
        return "starting"
    try:
        return BootedDebian(pid).run("systemctl", "is-system-running").stdout.strip()
    except subprocess.CalledProcessError as failure:
        return str(failure.stdout).strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGRTMIN+3 is systemd's halt; what has not stopped in time is killed with its whole namespace."""
    child = _child(process) if process.poll() is None else None
    if child is not None:
        os.kill(child, signal.SIGRTMIN + 3)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=20)


def _remove_cgroup(cgroup: Path) -> None:
    """Removes a cgroup and those that systemd made in it; the kernel empties them a moment after the last exit."""

    def gone() -> bool:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            try:
                Path(directory).rmdir()
            except OSError:
                return False
        return True

    wait_until(gone, f"the cgroup {cgroup} is empty")
