"""Bring a tower up in order, each part waited for by its health; take it down and leave no process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from medtower.adapters import git, git_hook
from medtower.adapters.postgres.migrate import migrate
from medtower.domain.tree import MODELS, PROPOSALS
from medtower.errors import Conflict, DeadlineExceeded, DiskFull, NotFound, ProcessDied
from medtower.local import airflow, health, ports, postgres, processes, prometheus, state, supervisor, triton
from medtower.local.state import GROUPS, Credentials, TowerState

NEEDED_MB = 1500
LOCK = ".lock"
STOP_SECONDS = 10
Progress = Callable[[str], None]


def source_folder() -> Path:
    """The checkout that this installation runs from: it holds dags/, monitoring/ and triton_models/."""
    folder = Path(__file__).resolve().parents[3]
    if not (folder / MODELS).is_dir():
        raise NotFound(f"{MODELS}/", str(folder), "run the embedded tower from a checkout of the repository")
    return folder


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Hold the tower's lock; raises Conflict, naming the process, when another command is starting, stopping or using it as a demo."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Conflict(
                f"another medtower command (process {lock.read() or 'unknown'}) is at work on {home}; wait for it, stop it, or choose "
                f"another MEDTOWER_HOME"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def up(home: Path, progress: Progress = lambda _: None, *, groups: Sequence[str] = GROUPS) -> TowerState:
    """Start the processes of the tower at `home` and wait until each is healthy; a tower that runs whole is left as it is.

    `groups` are some of GROUPS; Postgres and Triton are always needed. What is left of a tower that died in part is stopped first. Raises Unavailable and its
    kin naming the log; then nothing is left running.
    """
    home = home.resolve()
    if running(home):
        found = state.load(home)
        if all(supervisors(home, group) for group in found.groups):
            wait_healthy(found, state.credentials(home), progress)
            return found
        progress("stopping what is left of a tower that died in part")
        down(home)
    _check_disk(home)
    watched = prometheus.programs() is not None
    tower = TowerState(
        home=home,
        source=source_folder(),
        ports=ports.choose(home),
        started_at=datetime.now(UTC),
        watched=watched and "watchers" in groups,
        groups=tuple(group for group in GROUPS if group in groups and (watched or group != "watchers")),
    )
    secrets = state.credentials(home)
    state.weights_keys(home)
    state.gateway_key(home, secrets)
    state.save(tower)
    try:
        _start(tower, secrets, progress)
    except BaseException:
        down(home)
        raise
    return tower


def _check_disk(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)  # nobody else lists it; Postgres's own user, when this is root, passes through
    free = shutil.disk_usage(home).free // 2**20
    if free < NEEDED_MB:
        raise DiskFull(home, NEEDED_MB, free)


def _start(tower: TowerState, secrets: Credentials, progress: Progress) -> None:
    home = tower.home
    postgres.prepare(home / "postgres", superuser_password=secrets.postgres)
    triton.prepare(home, tower.source / ".venv-triton")
    members = processes.groups(tower, secrets)

    def start(*names: str) -> None:
        for name in names:
            if name in members:
                progress(f"starting {' and '.join(process.name for process in members[name])}")
                supervisor.start(home, name, members[name])

    start("postgres", "triton")
    superuser = secrets.dsn(tower, "postgres", "postgres")
    postgres.wait(superuser, data=home / "postgres", alive=lambda: _alive(home, "postgres"))
    postgres.create(superuser, passwords=secrets.roles)
    prepare_repository(tower)
    with ThreadPoolExecutor(1) as background:
        migration = background.submit(_migrate_airflow, tower, secrets, members)
        migrate(secrets.dsn(tower, "medtower_owner"))
        start("mlflow", "serving", "watchers")
        migration.result()
    start("airflow")
    wait_healthy(tower, secrets, progress)


def _migrate_airflow(
    tower: TowerState, secrets: Credentials, members: dict[str, list[supervisor.Process]]
) -> None:
    if "airflow" in members:
        environment = members["airflow"][0].environment
        airflow.migrate({**environment, supervisor.MARK: str(tower.home)}, secrets, tower.home)


def prepare_repository(tower: TowerState) -> None:
    """Seed the tower's own bare repository from the checkout's triton_models/ (the checkout itself is never written to), put the release
    policy at its door, and make an empty trust root."""
    repository = tower.home / "models.git"
    if not repository.exists():
        git.seed(repository, tower.source / MODELS)
    git_hook.install(
        git.Repository(repository),
        [str(processes.BIN / "medtower"), "check", "--pre-receive"],
        {"MEDTOWER_HOME": str(tower.home)},
        PROPOSALS,
    )
    trust = tower.home / "trust" / "allowed_signers"
    trust.parent.mkdir(exist_ok=True)
    trust.touch()


def wait_healthy(tower: TowerState, secrets: Credentials, progress: Progress) -> None:
    """Return when every process answers. Raises ProcessDied naming the first that ended, DeadlineExceeded naming the slow one."""
    for group, found in processes.groups(tower, secrets).items():
        for process in found:
            if process.health:
                progress(f"waiting for {process.name}")
                _wait(tower.home, group, process)


def _wait(home: Path, group: str, process: supervisor.Process) -> None:
    def healthy() -> bool:
        return health.answers(process.health or "", process.component) or not _alive(home, group)

    health.poll(healthy, part=process.name, deadline=120, log=supervisor.log_path(home, process.name))


def _alive(home: Path, group: str) -> bool:
    """True; raises ProcessDied naming the process of the group that ended first, or the supervisor when that was killed."""
    if dead := supervisor.ended(home, group):
        raise ProcessDied(dead["name"], int(dead["code"]), supervisor.log_path(home, dead["name"]))
    if not supervisors(home, group):
        name = f"supervisor-{group}"
        raise ProcessDied(name, None, supervisor.log_path(home, name))
    return True


def running(home: Path) -> bool:
    return bool(supervisors(home.resolve()))


def stopped(tower: TowerState) -> list[str]:
    """The groups that were started and do not run any more, each with the process that ended first where that is known."""
    gone = [group for group in tower.groups if not supervisors(tower.home, group)]
    first = {group: supervisor.ended(tower.home, group) for group in gone}
    return [f"{group} ({end['name']} ended first)" if (end := first[group]) else group for group in gone]


def down(home: Path) -> int:
    """Stop every process of the tower at `home`, those that need Postgres before it; return how many there were."""
    home = home.resolve()
    count = len(members(home))
    for groups in (GROUPS[2:], GROUPS[:2]):
        for pid in (pid for group in groups for pid in supervisors(home, group)):
            _signal(pid, signal.SIGTERM)
        _until(lambda g=groups: not any(supervisors(home, group) for group in g), STOP_SECONDS)  # type: ignore[misc]
    # what is left has no supervisor any more: it was killed
    for last in (signal.SIGTERM, signal.SIGKILL):
        for pid in members(home):
            _signal(pid, last)
        _until(lambda: not members(home), STOP_SECONDS)
    (home / "state.json").unlink(missing_ok=True)
    return count


def remove(home: Path) -> int:
    """Stop the tower at `home` and delete all it kept, also where Postgres had to put its data elsewhere; return how many processes there were."""
    count = down(home)
    if (home / "postgres").exists():
        postgres.remove(home / "postgres")
    for path in home.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return count


def homes() -> list[Path]:
    """Every tower's home below `.medtower/` of this checkout."""
    return sorted(path.parent for path in (source_folder() / ".medtower").glob("*/secrets.json"))


def _until(check: Callable[[], bool], seconds: float) -> None:
    with contextlib.suppress(DeadlineExceeded):
        health.poll(check, part="the tower", deadline=seconds)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def supervisors(home: Path, group: str = "") -> list[int]:
    return [pid for pid in members(home) if _supervises(pid, home, group)]


def members(home: Path) -> list[int]:
    """The processes that carry this home's mark, its supervisors and its Postgres server, without this one and its ancestors: also those
    whose supervisor was killed."""
    mark, data = f"{supervisor.MARK}={home}", str((home / "postgres").resolve())
    spared = set(_ancestors(os.getpid()))
    pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and int(p.name) not in spared]
    return [p for p in pids if mark in _read(p, "environ") or _supervises(p, home) or _serves_data(p, data)]


def _supervises(pid: int, home: Path, group: str = "") -> bool:
    wanted = ["medtower.local.supervisor", str(home), *([group] if group else [])]
    given = _read(pid, "cmdline")
    return all(word in given for word in wanted)


def _serves_data(pid: int, data: str) -> bool:
    """Postgres drops the environment and, as root, the user: its own process is known by its data folder."""
    program, *arguments = _read(pid, "cmdline") or [""]
    return program.endswith("/postgres") and data in arguments


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        yield pid
        status = _read(pid, "status", separator="\n")
        pid = next((int(line.split()[1]) for line in status if line.startswith("PPid:")), 0)


def _read(pid: int, name: str, separator: str = "\0") -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace").split(separator)
    return []
