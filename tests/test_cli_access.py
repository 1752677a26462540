"""`medtower access …`: the secret alone on standard output, once; everything else beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medtower import cli


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith("MEDTOWER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEDTOWER_HOME", str(tmp_path))
    return tmp_path


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli.app, ["access", *words])
    return done.exit_code, done.stdout, done.stderr


def test_a_key_is_shown_once_alone_on_standard_output(home: Path) -> None:
    code, shown, told = run("new", "ward-3", "--role", "clinician", "--model", "als_risk", "--days", "30")
    assert code == 0
    assert shown.startswith("mt_ward-3_")
    assert len(shown.split()) == 1
    assert "only time it is shown" in told
    assert shown.strip() not in told
    _, listed, _ = run("list")
    assert listed.startswith("ward-3  clinician  als_risk  made ")
    assert listed.endswith("valid\n")
    assert shown.strip() not in listed
    assert (home / "access.json").stat().st_mode & 0o777 == 0o600


def test_a_key_is_rotated_and_revoked() -> None:
    _, first, _ = run("new", "ehr", "--role", "service")
    code, second, told = run("rotate", "ehr", "--grace-hours", "48")
    assert code == 0
    assert second.startswith("mt_ehr_")
    assert second != first
    assert "48 h" in told
    assert run("revoke", "ehr")[1] == "the key ehr counts no more\n"
    assert run("list")[1].endswith("revoked\n")
    code, _, told = run("rotate", "ehr")
    assert (code, "is revoked" in told) == (5, True)


def test_a_role_that_is_none_is_refused() -> None:
    code, _, told = run("new", "ward-3", "--role", "root")
    assert code == 2
    assert "clinician" in told


def test_before_the_first_key_the_list_is_empty() -> None:
    assert run("list")[:2] == (0, "")
