"""The state file and the secrets beside it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medtower.errors import Conflict, NotFound
from medtower.local import operator, state


def made(home: Path) -> state.TowerState:
    return state.TowerState(
        home=home,
        source=home,
        ports={
            "gateway": 21000,
            "postgres": 21001,
            "mlflow": 21002,
            "triton_http": 21003,
            "triton_grpc": 21005,
            "reconciler": 21004,
        },
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        watched=False,
    )


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_state_is_read_as_it_was_written_and_by_its_owner_only(tmp_path: Path) -> None:
    state.save(made(tmp_path))
    assert state.load(tmp_path) == made(tmp_path)
    assert mode(tmp_path / "state.json") == 0o600


def test_secrets_are_made_once_differ_and_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    first = state.credentials(tmp_path)
    assert state.credentials(tmp_path) == first
    assert mode(tmp_path / "secrets.json") == 0o600
    plain = first.model_dump()
    every = [v for v in plain.values() if isinstance(v, str)] + list(first.roles.values())
    assert len(set(every)) == len(every)
    assert all(len(v) >= 32 for v in every)
    assert set(first.roles) == set(state.DATABASE_ROLES)
    (tmp_path / "other").mkdir()
    assert state.credentials(tmp_path / "other") != first


def test_a_private_file_is_closed_to_others_even_under_a_loose_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state.write_private(tmp_path / "deep" / "secret", "x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "deep" / "secret") == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    state.write_private(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        state.write_private(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_tower_was_started_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="make up"):
        state.load(tmp_path)


@pytest.mark.parametrize(("name", "text"), [("state.json", "{"), ("secrets.json", '{"postgres": "hunter2"}')])
def test_a_file_that_is_not_ours_is_a_conflict_that_repeats_nothing_of_it(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(Conflict, match=name) as raised:
        state.load(tmp_path) if name == "state.json" else state.credentials(tmp_path)
    assert "hunter2" not in str(raised.value)


def test_a_dsn_names_role_and_database_and_the_url_the_database_of_its_role(tmp_path: Path) -> None:
    secrets = state.credentials(tmp_path)
    dsn = secrets.dsn(made(tmp_path), "medtower_reader")
    assert dsn == (
        f"host=127.0.0.1 port=21001 dbname=medtower user=medtower_reader password={secrets.roles['medtower_reader']}"
    )
    assert secrets.dsn(made(tmp_path), "postgres", "postgres").endswith(f"password={secrets.postgres}")
    assert secrets.url(made(tmp_path), "mlflow").endswith("@127.0.0.1:21001/mlflow")


def test_an_operator_gets_the_tower_s_addresses_and_plain_defaults_without_one(tmp_path: Path) -> None:
    state.save(made(tmp_path))
    found = operator.settings_of(tmp_path)
    assert found.mlflow_uri == "http://127.0.0.1:21002"
    assert (found.gateway_port, found.reconciler_port) == (21000, 21004)
    assert found.path("routing") == tmp_path / "routing.json"
    assert "user=medtower_airflow" in found.dsn.get_secret_value()
    (tmp_path / "none").mkdir()
    assert operator.settings_of(tmp_path / "none").home == tmp_path / "none"
    assert not operator.settings_of(tmp_path / "none").dsn.get_secret_value()
