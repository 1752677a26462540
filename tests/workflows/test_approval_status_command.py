"""`medtower status` without a running tower: it needs only the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.fixtures.releases import ENVIRONMENT, World
from typer.testing import CliRunner

from medtower import cli
from medtower.errors import NotFound


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(tmp_path, "als_risk", "other_risk")
    for name in [n for n in os.environ if n.startswith("MEDTOWER_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "HOME": tmp_path / "home",
        "REPOSITORY": found.repository.path,
        "TRUST_ROOT": found.trust_root,
        "ENVIRONMENT": ENVIRONMENT,
    }.items():
        monkeypatch.setenv(f"MEDTOWER_{name}", str(value))
    return found


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["status", *arguments])
    return done.exit_code, done.output


def test_everything_is_told_from_the_repository_alone(world: World) -> None:
    world.promote("als_risk", 1)
    world.propose("als_risk", 2)
    world.propose("other_risk", 1)
    code, said = run()
    assert code == 0
    assert "als_risk: version 1 is released, to everybody" in said
    assert "als_risk 2: proposed in place of 1" in said
    assert said.count("missing") == 8


def test_one_model_and_one_version_may_be_asked_for(world: World) -> None:
    world.propose("als_risk", 1)
    world.propose("other_risk", 1)
    code, said = run("als_risk")
    assert code == 0 and "other_risk" not in said
    assert run("als_risk", "1")[0] == 0
    assert run("als_risk", "9")[0] == NotFound.exit_code


def test_a_forge_that_is_down_is_said_and_hides_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.propose("als_risk", 1)
    for name, value in {"": "gitea", "_URL": "http://127.0.0.1:1", "_REPOSITORY": "a/b"}.items():
        monkeypatch.setenv(f"MEDTOWER_FORGE{name}", value)
    code, said = run("als_risk")
    assert code == 0
    assert "as of the last look at the forge" in said
    assert "als_risk 1: proposed" in said
