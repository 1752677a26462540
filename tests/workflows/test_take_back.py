"""Taking a version back: what is guarded, and that nothing beside git can hold it up."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.fixtures.releases import World
from tests.fixtures.releases import released as released_before

from medtower.adapters.git import Repository
from medtower.errors import Conflict, InvalidInput, NotFound
from medtower.settings import Settings
from medtower.workflows import model_tree
from medtower.workflows.rollback import rollback
from medtower.workflows.rollback_request import take_back_once
from medtower.workflows.take_back import take_back, take_out
from medtower.workflows.tower import Tower

MODEL = "sum_model"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two versions were released; the hook keeps the rules."""
    found = released_before(tmp_path, MODEL, promoted=(1, 2))
    found.guard()
    return found


@pytest.fixture
def alone(world: World) -> Tower:
    """A tower of which nothing but the repository answers: no MLflow, Triton, gateway, Postgres, and a forge that is down."""
    nowhere = "127.0.0.1:1"
    return Tower(
        Settings(
            home=world.root / "home",
            repository=world.repository.path,
            mlflow_uri=f"http://{nowhere}",
            triton_url=nowhere,
            gateway_url=f"http://{nowhere}",
            dsn=SecretStr("host=127.0.0.1 port=1 dbname=medtower user=medtower_airflow"),
            forge="gitea",
            forge_url=f"http://{nowhere}",
            forge_repository="team/models",
        )
    )


def released(world: World) -> int | None:
    return model_tree.release_at(world.repository, "main", MODEL).version


def test_it_needs_git_and_nothing_else(world: World, alone: Tower, caplog: pytest.LogCaptureFixture) -> None:
    done = take_back(alone, MODEL, "sensitivity is critical")
    assert str(done) == (
        f"{MODEL}: version 2 is taken back, version 1 is released (commit {done.commit[:10]})"
    )
    assert (released(world), world.repository.head()) == (1, done.commit)
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        "main was not compared with the forge's",
        "the rollback stands; the forge gets it later",
        "the rollback stands; its report comes later",
    ]


def test_a_deactivation_looks_at_the_forge_and_is_followed_up_as_a_rollback_is(
    world: World, alone: Tower, caplog: pytest.LogCaptureFixture
) -> None:
    assert take_out(alone, MODEL, "the assay was changed") == world.repository.head()
    assert released(world) is None
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        "main was not compared with the forge's",
        "the rollback stands; the forge gets it later",
        "the rollback stands; its report comes later",
    ]


def test_the_verb_and_a_plain_git_revert_make_the_same_tree(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    twin = world.copy(tmp_path_factory.mktemp("twin"))
    done = rollback(world.repository, MODEL, "a test")
    twin.revert(done.reverted)
    trees = [w.repository.git("rev-parse", "main^{tree}") for w in (world, twin)]
    assert trees[0] == trees[1]


def test_a_version_that_is_not_released_is_a_conflict_and_nothing_changes(world: World) -> None:
    head = world.repository.head()
    with pytest.raises(Conflict, match="1 is not released"):
        rollback(world.repository, MODEL, "a test", version=1)
    assert world.repository.head() == head
    assert rollback(world.repository, MODEL, "a test", version=2).to == 1


def test_the_version_is_looked_at_again_when_somebody_else_was_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people take version 2 back at once: the second must not take version 1 back."""
    real = model_tree.until_pushed

    def raced(repository, action):
        first = []

        def late():
            if not first:
                first.append(True)
                rollback_of_somebody_else()
                raise Conflict("main was changed by somebody else meanwhile")
            return action()

        return real(repository, late)

    def rollback_of_somebody_else():
        with monkeypatch.context() as patch:
            patch.setattr(model_tree, "until_pushed", real)
            rollback(world.repository, MODEL, "first")

    monkeypatch.setattr(model_tree, "until_pushed", raced)
    with pytest.raises(Conflict, match="version 1 is"):
        rollback(world.repository, MODEL, "second", version=2)
    assert released(world) == 1


def test_of_two_people_who_take_back_what_they_see_only_one_version_goes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither names a version: both mean the one that was released when they asked."""
    real, raced = Repository.checkout, []

    def late(repository: Repository, *arguments: object, **named: object) -> object:
        if not raced:
            raced.append(True)
            rollback(world.repository, MODEL, "first")
        return real(repository, *arguments, **named)

    monkeypatch.setattr(Repository, "checkout", late)
    with pytest.raises(Conflict, match="2 is not released .any more., version 1 is"):
        rollback(world.repository, MODEL, "second")
    assert released(world) == 1


def test_an_edit_of_the_contract_is_in_no_rollbacks_way_and_stays(world: World) -> None:
    name = f"triton_models/{MODEL}/model.yaml"
    edited = (world.repository.read("main", name) or b"") + b"# a person's edit\n"
    world.write(name, edited)
    for to in (1, None):
        assert rollback(world.repository, MODEL, "a test").to == to
    assert world.repository.read("main", name) == edited
    assert world.repository.entries(f"main:triton_models/{MODEL}/dossiers") == []


def test_a_request_by_form_that_is_repeated_takes_nothing_else_back(world: World, alone: Tower) -> None:
    assert "version 2 is taken back" in take_back_once(MODEL, 2, "from a form", alone)
    head = world.repository.head()
    assert take_back_once(MODEL, 2, "from a form", alone) == (
        f"{MODEL}: version 2 is not released (any more); version 1 is"
    )
    assert world.repository.head() == head


def test_a_reason_and_a_release_are_needed(world: World, alone: Tower) -> None:
    with pytest.raises(InvalidInput, match="reason"):
        take_back(alone, MODEL, " \n")
    for _ in range(2):
        take_back(alone, MODEL, "a test")
    with pytest.raises(NotFound, match="no version of it is released"):
        take_back(alone, MODEL, "a test")
    assert released(world) is None
