"""Pull requests in the bare repository itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.fixtures.releases import World

from medtower.adapters.forge.local import LocalForge
from medtower.adapters.git import Repository
from medtower.errors import MedtowerError, NotFound, Refused

BRANCH = "promote/als_risk-1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path, "als_risk", "other_risk")
    found.propose("als_risk", 1)
    return found


def test_a_branch_has_one_pull_request_that_survives_the_process(world: World) -> None:
    first = LocalForge(world.repository).open(BRANCH, "Promote als_risk to 1", "old")
    again = LocalForge(Repository(world.repository.path)).open(BRANCH, "Promote als_risk to 1", "new")
    assert (first.number, again.number, again.body) == (1, 1, "new")
    assert LocalForge(world.repository).list() == [again]
    assert again.head == world.repository.head(BRANCH)


def test_comments_stay_when_the_text_changes(world: World) -> None:
    forge = LocalForge(world.repository)
    forge.open(BRANCH, "t", "old")
    forge.comment(1, "hold on")
    forge.open(BRANCH, "t", "new")
    assert [c.text for c in forge.comments(1)] == ["hold on"]


def test_a_merge_closes_it(world: World) -> None:
    forge = LocalForge(world.repository)
    forge.open(BRANCH, "t", "b")
    world.approve("als_risk", 1)
    world.merge("als_risk", 1)
    assert forge.list() == []
    assert [p.state for p in forge.list("closed")] == ["closed"]


def test_the_signed_statements_are_its_reviews(world: World) -> None:
    forge = LocalForge(world.repository)
    forge.open(BRANCH, "t", "b")
    world.approve("als_risk", 1, "clinical")
    assert [(r.author, r.state) for r in forge.reviews(1)] == [("clinical@example.org", "approved")]


def test_numbers_are_given_once_however_many_ask(world: World) -> None:
    world.propose("other_risk", 1)
    branches = [BRANCH, "promote/other_risk-1"]
    found: list[object] = []

    def ask(branch: str) -> None:
        try:
            found.append(LocalForge(world.repository).open(branch, "t", "b").number)
        except MedtowerError as error:
            found.append(error)

    threads = [threading.Thread(target=ask, args=(b,)) for b in branches * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["1", "1", "1", "2", "2", "2"]
    assert {p.branch for p in LocalForge(world.repository).list()} == set(branches)


def test_what_is_not_there_is_not_found(world: World) -> None:
    forge = LocalForge(world.repository)
    with pytest.raises(NotFound, match="promote/als_risk-9"):
        forge.open("promote/als_risk-9", "t", "b")
    with pytest.raises(NotFound, match="pull request 9"):
        forge.comment(9, "x")


def test_no_second_way_to_merge_stays_open(world: World) -> None:
    opened = LocalForge(world.repository).open(BRANCH, "t", "b")
    with pytest.raises(Refused, match="medtower merge"):
        LocalForge(world.repository).merge(opened.number, opened.head)
