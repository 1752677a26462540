"""Bring a tower up in order, each part waited for by its health; take it down and leave no process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from medtower.adapters import git
from medtower.adapters.postgres.migrate import migrate
from medtower.errors import Conflict, DiskFull, NotFound, ProcessDied
from medtower.local import airflow, health, ports, postgres, processes, prometheus, state, supervisor, triton
from medtower.local.state import Credentials, TowerState

NEEDED_MB = 1500
Progress = Callable[[str], None]


def source_folder() -> Path:
    """The checkout that this installation runs from: it holds dags/, monitoring/ and triton_models/."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / "triton_models").is_dir():
        raise NotFound(
            "triton_models/", str(folder), "run the embedded tower from a checkout of the repository"
        )
    return folder


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the tower's lock; raises Conflict when another command is starting, stopping or using it as a demo."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another medtower command is at work on {home}; wait for it or choose another MEDTOWER_HOME"
            ) from None
        yield


def up(home: Path, progress: Progress = lambda _: None) -> TowerState:
    """Start every process of the tower at `home` and wait until each is healthy; a tower that runs already is left as it is."""
    home = home.resolve()
    if running(home):
        found = state.load(home)
        wait_healthy(found, state.credentials(home), progress)
        return found
    _check_disk(home)
    tower = TowerState(
        home=home,
        source=source_folder(),
        ports=ports.choose(home),
        started_at=datetime.now(UTC),
        watched=prometheus.programs() is not None,
    )
    secrets = state.credentials(home)
    state.save(tower)
    try:
        _start(tower, secrets, progress)
    except BaseException:
        down(home)
        raise
    return tower


def _check_disk(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free // 2**20
    if free < NEEDED_MB:
        raise DiskFull(home, NEEDED_MB, free)


def _start(tower: TowerState, secrets: Credentials, progress: Progress) -> None:
    home = tower.home
    progress("Postgres and Triton")
    postgres.prepare(home / "postgres", superuser_password=secrets.postgres)
    triton.prepare(home, tower.source / ".venv-triton")
    supervisor.start(home, "foundation", processes.foundation(tower, secrets))
    superuser = secrets.dsn(tower, "postgres", "postgres")
    postgres.wait(
        superuser, data=home / "postgres", alive=lambda: supervisor.ended(home, "foundation") is None
    )
    postgres.create(superuser, passwords=secrets.roles)
    progress("MLflow, reconciler and gateway")
    prepare_repository(tower)
    environment = processes.airflow(tower, secrets)[0].environment
    with ThreadPoolExecutor(1) as background:
        migration = background.submit(airflow.migrate, environment, secrets, home)
        migrate(secrets.dsn(tower, "medtower_owner"))
        supervisor.start(home, "services", processes.services(tower, secrets))
        progress("Airflow")
        migration.result()
    supervisor.start(home, "airflow", processes.airflow(tower, secrets))
    wait_healthy(tower, secrets, progress)


def prepare_repository(tower: TowerState) -> None:
    """Seed the tower's own bare repository from the checkout's triton_models/ (the checkout itself is never written to), and an empty trust root."""
    repository = tower.home / "models.git"
    if not repository.exists():
        git.seed(repository, tower.source / "triton_models")
    trust = tower.home / "trust" / "allowed_signers"
    trust.parent.mkdir(exist_ok=True)
    trust.touch()


def wait_healthy(tower: TowerState, secrets: Credentials, progress: Progress) -> None:
    """Return when every process answers. Raises ProcessDied naming the first that ended, DeadlineExceeded naming the slow one."""
    groups = {
        "foundation": processes.foundation,
        "services": processes.services,
        "airflow": processes.airflow,
    }
    for group, members in groups.items():
        for process in members(tower, secrets):
            if process.health:
                progress(f"waiting for {process.name}")
                _wait(tower.home, group, process)


def _wait(home: Path, group: str, process: supervisor.Process) -> None:
    def healthy() -> bool:
        if dead := supervisor.ended(home, group):
            raise ProcessDied(dead["name"], int(dead["code"]), supervisor.log_path(home, dead["name"]))
        return health.answers(process.health or "")

    health.poll(healthy, part=process.name, deadline=120, log=supervisor.log_path(home, process.name))


def running(home: Path) -> bool:
    return bool(_supervisors(home.resolve()))


def down(home: Path) -> int:
    """Stop every process of the tower at `home`, in the order top to bottom; return how many there were."""
    home = home.resolve()
    count = len(_members(home))
    for group in ("airflow", "services", "foundation"):
        for pid in _supervisors(home, group):
            _signal(pid, signal.SIGTERM)
        with contextlib.suppress(Exception):
            health.poll(lambda g=group: not _supervisors(home, g), part=group, deadline=15)  # type: ignore[misc]
    for last in (signal.SIGTERM, signal.SIGKILL):
        for pid in _members(home):
            _signal(pid, last)
        with contextlib.suppress(Exception):
            health.poll(lambda: not _members(home), part="the tower", deadline=10)
    (home / "state.json").unlink(missing_ok=True)
    return count


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _supervisors(home: Path, group: str = "") -> list[int]:
    wanted = ["medtower.local.supervisor", str(home), *([group] if group else [])]
    return [pid for pid in _members(home) if all(w in _read(pid, "cmdline") for w in wanted)]


def _members(home: Path) -> list[int]:
    """The processes that carry this home in their environment, without this one and its ancestors: also those whose supervisor was killed."""
    mark = f"MEDTOWER_HOME={home}"
    spared = set(_ancestors(os.getpid()))
    pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
    return [pid for pid in pids if pid not in spared and mark in _read(pid, "environ")]


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        status = _read(pid, "status", separator="\n")
        pid = next((int(line.split()[1]) for line in status if line.startswith("PPid:")), 0)


def _read(pid: int, name: str, separator: str = "\0") -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace").split(separator)
    return []
