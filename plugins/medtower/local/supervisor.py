"""A group of processes under honcho: `python -m medtower.local.supervisor HOME GROUP`. When one ends, the group stops and says which."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from honcho.manager import Manager
from honcho.printer import Printer
from pydantic import BaseModel, ConfigDict

from medtower.local.state import write_private

# Every process of a tower carries this variable with the tower's home: how `down` finds them all. It is not a setting: a person's shell
# may well have MEDTOWER_HOME, and nothing that person started may be stopped because of it.
MARK = "MEDTOWER_TOWER"


class Process(BaseModel):
    """One supervised process: its argument list, whole environment, and the URL (or None) that says it is healthy.

    Where the page at `health` reports on several parts, `component` is the name of this one in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    argv: list[str]
    environment: dict[str, str]
    health: str | None = None
    component: str | None = None


def log_path(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


def start(home: Path, group: str, processes: list[Process]) -> int:
    """Start the group in the background, detached from this terminal; return the supervisor's process id."""
    specification = home / "run" / f"{group}.json"
    write_private(specification, json.dumps([p.model_dump() for p in processes]))
    (home / "run" / f"{group}.exit").unlink(missing_ok=True)
    (home / "logs").mkdir(exist_ok=True)
    with log_path(home, f"supervisor-{group}").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "medtower.local.supervisor", str(home), group],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, MARK: str(home)},
        )
    # reaps it should it end while this command lives
    threading.Thread(target=child.wait, daemon=True).start()
    return child.pid


def ended(home: Path, group: str) -> dict[str, Any] | None:
    """The first process of the group that ended, as {name, code}; None while all run."""
    path = home / "run" / f"{group}.exit"
    return json.loads(path.read_text()) if path.exists() else None


class _Watcher(Printer):  # type: ignore[misc]
    """Honcho's printer, told of every line and exit: it keeps the first exit in a file for whoever waits."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def write(self, message: Any) -> None:
        super().write(message)
        text = message.data if isinstance(message.data, str) else message.data.decode(errors="replace")
        if "stopped (rc=" in text and not self._path.exists():
            name, _, rest = text.partition(" stopped (rc=")
            write_private(self._path, json.dumps({"name": name.strip(), "code": rest.strip(" )\n")}))


def main(home: Path, group: str) -> int:
    os.umask(0o077)  # what a process keeps (artifacts, spool, reports) is nobody else's to read
    processes = [Process.model_validate(p) for p in json.loads((home / "run" / f"{group}.json").read_text())]
    manager = Manager(_Watcher(home / "run" / f"{group}.exit"))
    for process in processes:
        command = f"exec {shlex.join(process.argv)} >>{shlex.quote(str(log_path(home, process.name)))} 2>&1"
        environment = {**process.environment, MARK: str(home)}
        manager.add_process(process.name, command, env=environment, cwd=str(home))
    manager.loop()
    return int(manager.returncode or 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
