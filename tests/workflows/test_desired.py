"""What main says should serve, where no hook stood at main's door: it was fetched from a forge, or somebody wrote the bare repository."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.fixtures.releases import ENVIRONMENT, World, released

from medtower.adapters.git import Repository
from medtower.errors import Refused
from medtower.workflows import model_tree
from medtower.workflows.deactivate import deactivate
from medtower.workflows.reconcile import taken_back, tree_size
from medtower.workflows.reconcile.desired import Desired, DesiredState
from medtower.workflows.reconcile.memory import Memory
from medtower.workflows.reconcile.trusted import Trusted
from medtower.workflows.rollback import rollback

MODEL, OTHER = "sum_model", "other_model"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two versions were released, and no hook is installed."""
    return released(tmp_path, MODEL, OTHER, promoted=(1, 2), roles=("technical", "final"))


def state_of(world: World, repository: Repository | None = None) -> DesiredState:
    memory = Memory(world.root / "memory.json")
    trusted = Trusted(world.trust_root, ENVIRONMENT, world.roles, memory)
    return DesiredState(repository or world.repository, trusted, memory)


def look(state: DesiredState, world: World, model: str = MODEL) -> Desired:
    return next(d for d in state.at(str(world.repository.head())) if d.model == model)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_version_that_was_taken_back_does_not_return(world: World, fresh: bool) -> None:
    state = state_of(world)
    assert look(state, world).version == 2
    done = rollback(world.repository, MODEL, "a test")
    assert (look(state, world).version, look(state, world).error) == (1, None)
    world.revert(done.commit)
    found = look(state_of(world) if fresh else state, world)
    assert isinstance(found.error, Refused)
    assert found.error.rule == "taken-back"
    assert f"medtower propose {MODEL} 2" in str(found.error)
    assert found.serving == []


def test_it_does_not_return_between_two_looks_either(world: World) -> None:
    state = state_of(world)
    assert look(state, world).error is None
    world.revert(rollback(world.repository, MODEL, "a test").commit)
    assert isinstance(look(state, world).error, Refused)


def test_no_model_takes_back_what_was_released_before(world: World) -> None:
    deactivate(world.repository, MODEL, "a test")
    state = state_of(world)
    assert look(state, world).error is None
    world.revert(str(world.repository.head()))
    assert isinstance(look(state, world).error, Refused)


def test_the_ledger_is_asked_once_for_a_state_of_the_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = taken_back.check

    def count(repository: Repository, commit: str, release: object) -> None:
        asked.append(commit)
        real(repository, commit, release)  # type: ignore[arg-type]

    monkeypatch.setattr(taken_back, "check", count)
    state = state_of(world)
    look(state, world)
    look(state, world)
    world.write("notes.md", "of another thing")
    assert look(state, world).error is None
    assert len(asked) == 1


def test_where_history_is_cut_off_it_is_said_that_nobody_knows(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    place = world.root / "shallow.git"
    world.repository.git("clone", "-q", "--bare", "--depth=1", world.repository.path.as_uri(), str(place))
    state = state_of(world, Repository(place))
    with caplog.at_level(logging.WARNING):
        assert look(state, world).error is None
    assert "whether the version was taken back before is not known" in caplog.text


def test_nothing_is_read_of_a_model_that_releases_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[str] = []
    real = model_tree.exported
    monkeypatch.setattr(
        model_tree, "exported", lambda r, c, model: (exported.append(model), real(r, c, model))[1]
    )
    found = state_of(world).at(str(world.repository.head()))
    assert [(d.model, d.version, d.error) for d in found] == [(OTHER, None, None), (MODEL, 2, None)]
    assert exported == [MODEL]


@pytest.mark.parametrize("name", ["model.yaml", "release.yaml"])
def test_a_folder_that_is_too_large_is_refused_before_it_is_read(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_size, "LARGEST_BYTES", 1 << 20)
    world.write(f"triton_models/{MODEL}/{name}", b"# " + b"x" * (1 << 20))
    monkeypatch.setattr(Repository, "contents", lambda *_: pytest.fail("it was read"))
    found = look(state_of(world), world)
    assert isinstance(found.error, Refused)
    assert (found.error.rule, "more than 1 MiB" in str(found.error)) == ("tree", True)
    assert look(state_of(world), world, OTHER).error is None
