"""Groups of processes under honcho."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtower.local import health, supervisor, tower
from medtower.local.supervisor import Process

ENVIRONMENT = {"PATH": os.environ["PATH"], "GREETING": "good day"}
WAIT = "import signal; print('ready', flush=True); signal.pause()"


def python(name: str, script: str) -> Process:
    return Process(name=name, argv=[sys.executable, "-c", script], environment=ENVIRONMENT)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    tower.down(tmp_path)
    assert tower.members(tmp_path) == []


def until(check: object, part: str = "the group") -> None:
    health.poll(check, part=part, deadline=30)  # type: ignore[arg-type]


def says(home: Path, name: str, text: str) -> bool:
    log = supervisor.log_path(home, name)
    return log.exists() and text in log.read_text()


def test_each_process_has_its_environment_and_its_log(home: Path) -> None:
    supervisor.start(home, "group", [python("one", "import os; print(os.environ['GREETING'])\n" + WAIT)])
    until(lambda: says(home, "one", "good day\nready"))
    assert supervisor.ended(home, "group") is None
    assert tower.running(home)


def test_a_process_that_dies_is_named_with_its_code_and_its_group_stops(home: Path) -> None:
    supervisor.start(
        home, "group", [python("steady", WAIT), python("weak", "import sys; print('no more'); sys.exit(3)")]
    )
    until(lambda: supervisor.ended(home, "group") is not None)
    assert supervisor.ended(home, "group") == {"name": "weak", "code": "3"}
    until(lambda: not tower.members(home))
    assert says(home, "weak", "no more")


def test_a_process_killed_by_a_signal_is_named_with_the_signal(home: Path) -> None:
    supervisor.start(home, "group", [python("steady", WAIT), python("victim", WAIT)])
    until(lambda: says(home, "victim", "ready"))
    (pid,) = [p for p in tower.members(home) if _runs(p, "victim", home)]
    os.kill(pid, signal.SIGKILL)
    until(lambda: supervisor.ended(home, "group") is not None)
    assert supervisor.ended(home, "group") == {"name": "victim", "code": "-9"}


def _runs(pid: int, name: str, home: Path) -> bool:
    """True for the process that writes into the log of `name`, false for its supervisor."""
    output = Path(f"/proc/{pid}/fd/1")
    return output.resolve() == supervisor.log_path(home, name)


def test_a_group_started_again_forgets_how_it_ended(home: Path) -> None:
    supervisor.start(home, "group", [python("weak", "raise SystemExit(1)")])
    until(lambda: supervisor.ended(home, "group") is not None)
    until(lambda: not tower.members(home))
    supervisor.start(home, "group", [python("steady", WAIT)])
    assert supervisor.ended(home, "group") is None
    until(lambda: says(home, "steady", "ready"))


def test_the_specification_holds_secrets_and_is_closed_to_others(home: Path) -> None:
    supervisor.start(home, "group", [python("one", WAIT)])
    assert (home / "run" / "group.json").stat().st_mode & 0o777 == 0o600


def test_what_a_process_makes_is_closed_to_other_users_whatever_the_umask_of_the_one_who_started_it(
    home: Path,
) -> None:
    makes = "from pathlib import Path; Path('made').mkdir(); Path('made/file').write_text('x')\n" + WAIT
    before = os.umask(0o022)
    try:
        supervisor.start(home, "group", [python("one", makes)])
        until(lambda: says(home, "one", "ready"))
    finally:
        os.umask(before)
    assert (home / "made").stat().st_mode & 0o777 == 0o700
    assert (home / "made" / "file").stat().st_mode & 0o777 == 0o600


def test_down_stops_what_outlives_its_killed_supervisor_and_leaves_strangers_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tower, "STOP_SECONDS", 1)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT
    supervisor.start(home, "group", [python("plain", WAIT), python("stubborn", stubborn)])
    until(lambda: says(home, "plain", "ready") and says(home, "stubborn", "ready"))
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"],
        env={**ENVIRONMENT, "MEDTOWER_HOME": str(home)},
    )
    try:
        for pid in tower.supervisors(home):
            os.kill(pid, signal.SIGKILL)
        assert tower.members(home)
        assert tower.down(home) > 0
        assert tower.members(home) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(10)
