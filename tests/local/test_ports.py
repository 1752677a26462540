"""Which ports a tower takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from medtower.errors import InvalidInput, PortTaken, Unavailable
from medtower.local import ports


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANGE", *(n.upper() for n in ports.NAMES)):
        monkeypatch.delenv(f"MEDTOWER_PORT_{name}", raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_every_process_gets_a_free_port_of_its_own(tmp_path: Path) -> None:
    chosen = ports.choose(tmp_path)
    assert list(chosen) == list(ports.NAMES)
    assert len(set(chosen.values())) == len(ports.NAMES)
    low, high = map(int, ports.DEFAULT_RANGE.split("-"))
    assert all(low <= p <= high and ports.is_free(p) for p in chosen.values())


def test_a_tower_keeps_its_ports_and_two_homes_differ(tmp_path: Path) -> None:
    first = ports.choose(tmp_path / "a")
    assert ports.choose(tmp_path / "a") == first
    assert set(ports.choose(tmp_path / "b").values()).isdisjoint(first.values())


def test_a_fixed_port_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free()
    monkeypatch.setenv("MEDTOWER_PORT_GATEWAY", str(port))
    assert ports.choose(tmp_path)["gateway"] == port


def test_a_fixed_port_in_use_says_which_part_and_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setenv("MEDTOWER_PORT_MLFLOW", str(taken))
    with pytest.raises(PortTaken, match=rf"mlflow .*port {taken}.*MEDTOWER_PORT_"):
        ports.choose(tmp_path)


def test_a_port_that_is_taken_by_somebody_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setenv("MEDTOWER_PORT_RANGE", f"{taken - 20}-{taken}")
    assert taken not in ports.choose(tmp_path).values()


def test_no_other_process_is_given_a_port_that_is_fixed_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ports.choose(tmp_path)
    monkeypatch.setenv("MEDTOWER_PORT_ALERTMANAGER", str(first["postgres"]))
    chosen = ports.choose(tmp_path)
    assert chosen["alertmanager"] == first["postgres"]
    assert len(set(chosen.values())) == len(ports.NAMES)


def test_one_port_fixed_for_two_processes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = str(free())
    monkeypatch.setenv("MEDTOWER_PORT_MLFLOW", port)
    monkeypatch.setenv("MEDTOWER_PORT_GATEWAY", port)
    with pytest.raises(InvalidInput, match="MEDTOWER_PORT_GATEWAY.*the port of mlflow already"):
        ports.choose(tmp_path)


@pytest.mark.parametrize("value", ["0", "65536", "http", "-1", "80.5", "²", "99999999999999999999"])
def test_a_fixed_port_that_is_not_one_names_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MEDTOWER_PORT_AIRFLOW", value)
    with pytest.raises(InvalidInput, match="MEDTOWER_PORT_AIRFLOW"):
        ports.choose(tmp_path)


@pytest.mark.parametrize("value", ["", "21000", "30000-20000", "80-90", "a-b", "21000-70000", "²-³"])
def test_a_range_that_is_not_one_is_refused_with_an_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MEDTOWER_PORT_RANGE", value)
    with pytest.raises(InvalidInput, match=f"as {ports.DEFAULT_RANGE}"):
        ports.choose(tmp_path)


def test_a_range_that_is_used_up_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDTOWER_PORT_RANGE", "23000-23003")
    with pytest.raises(Unavailable, match="no free port .* widen MEDTOWER_PORT_RANGE"):
        ports.choose(tmp_path)
