"""Starting and stopping a whole embedded tower."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.fixtures.tower import RunningTower

from medtower import cli
from medtower.errors import Conflict, DiskFull, MedtowerError, PortTaken, ProcessDied
from medtower.local import addresses, health, postgres, processes, state, supervisor
from medtower.local import tower as local

Usage = namedtuple("Usage", "total used free")
GROUPS = ("postgres", "triton", "mlflow", "serving")
FOUNDATION = ("postgres", "triton")
SECONDS_TO_STOP = 6.0
pytestmark = pytest.mark.tower


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that Postgres's user can reach; whatever runs there is stopped afterwards."""
    place = Path(tempfile.mkdtemp(prefix="medtower-tower-"))
    place.chmod(0o711)
    yield place
    local.down(place)
    assert local.members(place) == []
    postgres.remove(place / "postgres")
    shutil.rmtree(place)


def test_a_full_disk_is_told_before_anything_is_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 5 * 2**20))
    with pytest.raises(DiskFull, match="5 MB free and 1500 MB are needed"):
        local.up(home)
    assert list(home.iterdir()) == []


def test_a_fixed_port_in_use_is_told_before_anything_is_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MEDTOWER_PORT_POSTGRES", str(server.getsockname()[1]))
        with pytest.raises(PortTaken, match="postgres"):
            local.up(home)
    assert list(home.iterdir()) == []


def test_one_command_at_a_time_works_on_a_tower_and_its_death_sets_it_free(tmp_path: Path) -> None:
    script = (
        "import sys, signal; from pathlib import Path; from medtower.local import tower\n"
        "with tower.exclusive(Path(sys.argv[1])):\n    print('mine', flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout.readline() == "mine\n"
            with pytest.raises(Conflict, match=f"process {other.pid}"), local.exclusive(tmp_path):
                pass
        finally:
            other.kill()
    with local.exclusive(tmp_path):
        pass


def test_down_where_nothing_runs_stops_nothing(tmp_path: Path) -> None:
    assert local.down(tmp_path) == 0
    assert not local.running(tmp_path)


def test_the_running_tower_answers_at_the_addresses_that_are_shown(tower: RunningTower) -> None:
    shown = addresses.links(tower.state)
    assert "Airflow" not in shown  # this tower was started without it
    for name, address in shown.items():
        if address.startswith("http"):
            assert httpx.get(address, follow_redirects=True, trust_env=False).status_code == 200, name
    assert all(f"127.0.0.1:{p}" in " ".join(shown.values()) for p in _ports(tower, "gateway", "mlflow"))


def _ports(tower: RunningTower, *names: str) -> list[int]:
    return [tower.state.ports[name] for name in names]


def test_every_process_listens_on_loopback_only(tower: RunningTower) -> None:
    loopback, other = _listeners()
    parts = ("postgres", "mlflow", "triton_http", "triton_grpc", "triton_metrics", "gateway", "reconciler")
    assert set(_ports(tower, *parts)) <= loopback
    assert other.isdisjoint(tower.state.ports.values())


def _listeners() -> tuple[set[int], set[int]]:
    """The ports that somebody listens on (state 0A): on 127.0.0.1, also as an IPv6-mapped address, and elsewhere."""
    loopback, other = set[int](), set[int]()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, place, _, status, *_ = line.split()
            address, port = place.split(":")
            if status == "0A":
                local_only = address in ("0100007F", "0000000000000000FFFF00000100007F")
                (loopback if local_only else other).add(int(port, 16))
    return loopback, other


def test_up_again_leaves_a_running_tower_as_it_is(tower: RunningTower) -> None:
    before = sorted(local.supervisors(tower.state.home))
    assert local.up(tower.state.home) == tower.state
    assert sorted(local.supervisors(tower.state.home)) == before


def test_status_shows_addresses_and_what_serves(
    tower: RunningTower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    monkeypatch.setenv("MEDTOWER_HOME", str(tower.state.home))
    done = CliRunner().invoke(cli.app, ["status"])
    assert done.exit_code == 0, done.stderr
    assert tower.state.url("mlflow") in done.stdout
    assert "als_risk" in done.stdout


def test_state_and_secrets_of_a_running_tower_are_closed_to_others(tower: RunningTower) -> None:
    files = [tower.state.home / "state.json", tower.state.home / "secrets.json"]
    files += sorted((tower.state.home / "run").glob("*.json"))
    assert len(files) == 2 + len(GROUPS)
    assert {p.stat().st_mode & 0o777 for p in files} == {0o600}


def test_a_second_tower_has_other_ports_and_stops_fast_and_wholly(tower: RunningTower, home: Path) -> None:
    second = local.up(home, groups=GROUPS)
    assert set(second.ports.values()).isdisjoint(tower.state.ports.values())
    pids = local.members(home)
    started = time.monotonic()
    assert local.down(home) == len(pids)
    assert time.monotonic() - started < 2 * SECONDS_TO_STOP  # twice: the machine may be shared
    assert not [p for p in pids if _alive(p)]
    assert not (home / "state.json").exists()
    # the first one never noticed
    assert local.stopped(tower.state) == []
    assert httpx.get(tower.state.url("gateway", "/health/live"), trust_env=False).status_code == 200


def _alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


def test_a_killed_process_ends_its_group_is_named_and_up_brings_the_tower_back(home: Path) -> None:
    found = local.up(home, groups=FOUNDATION)
    (triton,) = [p for p in local.members(home) if _program(p).endswith("/tritonserver")]
    os.kill(triton, signal.SIGKILL)
    health.poll(lambda: local.stopped(found) != [], part="the group", deadline=30)
    assert local.stopped(found) == ["triton (triton ended first)"]
    assert supervisor.ended(home, "triton") == {"name": "triton", "code": "-9"}
    with pytest.raises(ProcessDied, match=r"triton .*code -9; see .*triton\.log"):
        local.wait_healthy(found, state.credentials(home), lambda _: None)
    again = local.up(home, groups=FOUNDATION)
    assert local.stopped(again) == []
    assert httpx.get(again.url("triton_http", "/v2/health/live"), trust_env=False).status_code == 200


def test_what_ends_takes_nothing_else_with_it(home: Path) -> None:
    found = local.up(home, groups=GROUPS)
    (mlflow, *_) = [
        p for p in local.members(home) if "/bin/mlflow" in _command(p) and "supervisor" not in _command(p)
    ]
    os.kill(mlflow, signal.SIGKILL)
    health.poll(lambda: local.stopped(found) != [], part="the group", deadline=30)
    assert [s.split(" ")[0] for s in local.stopped(found)] == ["mlflow"]
    assert httpx.get(found.url("gateway", "/health/live"), trust_env=False).status_code == 200


def test_down_leaves_no_process_when_the_supervisors_were_killed_outright(home: Path) -> None:
    local.up(home, groups=FOUNDATION)
    pids = local.members(home)
    for pid in local.supervisors(home):
        os.kill(pid, signal.SIGKILL)
    assert not local.running(home)
    assert local.down(home) > 0
    assert not [p for p in pids if _alive(p)]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def _program(pid: int) -> str:
    return _command(pid).split(" ")[0]


def test_a_process_that_dies_at_the_start_ends_up_with_one_line_that_names_its_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., dict[str, list[supervisor.Process]]] = processes.groups

    def broken(*arguments: object) -> dict[str, list[supervisor.Process]]:
        found = real(*arguments)
        return {**found, "triton": [p.model_copy(update={"argv": ["/bin/false"]}) for p in found["triton"]]}

    monkeypatch.setattr(processes, "groups", broken)
    with pytest.raises(
        ProcessDied, match=r"triton is unavailable: .*code 1; see .*logs/triton\.log"
    ) as raised:
        local.up(home, groups=FOUNDATION)
    assert len(str(raised.value).splitlines()) == 1
    assert local.members(home) == []
    assert not (home / "state.json").exists()


def test_a_supervisor_that_cannot_start_is_named_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.sys, "executable", "/bin/false")
    with pytest.raises(MedtowerError, match="supervisor-postgres"):
        local.up(home, groups=FOUNDATION)


def test_a_tower_needs_a_checkout_to_start_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = tmp_path / "lib" / "site-packages" / "medtower" / "local" / "tower.py"
    monkeypatch.setattr(local, "__file__", str(elsewhere))
    with pytest.raises(MedtowerError, match="from a checkout"):
        local.source_folder()


def test_the_repository_of_models_starts_as_a_copy_of_the_checkout_s(tower: RunningTower) -> None:
    first = tower.tower.repository.log()[-1]
    assert first.subject == "Start with the models of this tree"
    names = tower.tower.names()
    assert {"als_risk", "alzheimer_risk", "mortality_5y", "parkinsons_severity"} <= set(names)
    assert json.loads((tower.state.home / "state.json").read_text())["groups"] == list(GROUPS)
