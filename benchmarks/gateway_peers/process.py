"""One server as a process of the benchmark: started on free loopback ports, weighed with all of its children, ended by process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medtower.errors import ProcessDied, Unavailable
from medtower.local import health
from medtower.local.processes import base_environment
from medtower.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
MARK = "MEDTOWER_BENCH"
START_SECONDS = 120
STOP_SECONDS = 15


class Unusable(Unavailable):
    """A server that is not measured, with the reason that the table gives."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.why = why


class Served:
    """A running process and its children: those that descend from it, and those that carry its mark in their environment."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        marked = {**base_environment(), **environment, MARK: self._mark.partition("=")[2]}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                env=marked,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait(self, url: str, seconds: float = START_SECONDS) -> None:
        """Return when a GET of `url` answers. Raises ProcessDied and DeadlineExceeded, which name the log."""

        def ready() -> bool:
            if (code := self._process.poll()) is not None:
                raise ProcessDied(self.name, code, self.log)
            return health.answers(url)

        health.poll(ready, part=self.name, deadline=seconds, log=self.log)

    def rss_mb(self) -> float:
        """Resident memory of all of its processes, in MB of 10^6 bytes; what they share counts for each."""
        return sum(_rss_kib(pid) for pid in self.members()) * 1024 / 1e6

    def members(self) -> set[int]:
        """Every process of it that runs."""
        parents = {pid: _parent(pid) for pid in _pids()}
        found = {pid for pid in parents if pid == self.pid or self._mark in _environment(pid)}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return {pid for pid in found if pid != os.getpid() and _state(pid) not in ("", "Z")}

    def end(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM to the process; what is left of its children after `seconds` is killed, each by its id."""
        members = self.members()
        self._signal({self.pid}, signal.SIGTERM)
        wait_until(lambda: not self._left(members), seconds)
        self._signal(self._left(members), signal.SIGKILL)
        self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL to the process and its children, as a crash or the kernel's out-of-memory killer would."""
        self._signal(self.members(), signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def _left(self, members: set[int]) -> set[int]:
        self._process.poll()  # else a process that ended stays in the list as a zombie
        members |= self.members()
        return members & self.members()

    def _signal(self, pids: set[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def served(
    name: str, argv: Sequence[str], environment: Mapping[str, str], folder: Path, ready: str
) -> Iterator[Served]:
    """The server `argv`, from the moment when a GET of `ready` answers until the end of the block. `folder` takes its log."""
    process = Served(name, argv, environment, folder)
    try:
        process.wait(ready)
        yield process
    finally:
        process.end()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _status(pid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}


def _parent(pid: int) -> int:
    return int(_status(pid).get("PPid", 0))


def _state(pid: int) -> str:
    return _status(pid).get("State", "")[:1]


def _rss_kib(pid: int) -> int:
    return int(_status(pid).get("VmRSS", "0 kB").split()[0])


def _environment(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return []
