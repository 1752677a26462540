"""A model's folder reaches the tower by one commit, and what serves does not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtower.adapters import git
from medtower.adapters.git import Repository
from medtower.errors import ContractInvalid
from medtower.workflows.add_model import add_model
from medtower.workflows.new_model import scaffold

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return git.seed(tmp_path / "models.git", ROOT / "triton_models")


def test_a_new_model_is_one_commit_without_a_release(repository: Repository, tmp_path: Path) -> None:
    folder = scaffold(tmp_path / "mine", "kidney_decline", "classification", None)
    commit = add_model(repository, folder)
    assert repository.head() == commit
    assert [c.subject for c in repository.log(limit=1)] == ["Add the model kidney_decline"]
    assert b"version: null" in (repository.read("main", "triton_models/kidney_decline/release.yaml") or b"")
    assert (
        repository.read("main", "triton_models/kidney_decline/model.yaml")
        == (folder / "model.yaml").read_bytes()
    )


def test_adding_it_again_changes_nothing(repository: Repository, tmp_path: Path) -> None:
    folder = scaffold(tmp_path / "mine", "kidney_decline", "classification", None)
    first = add_model(repository, folder)
    assert add_model(repository, folder) is None
    assert repository.head() == first


def test_a_changed_contract_leaves_the_release_alone(repository: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "als_risk"
    repository.export("main:triton_models/als_risk", folder)
    (folder / "model.yaml").write_text((folder / "model.yaml").read_text() + "# a remark\n")
    (folder / "release.yaml").write_text("model: als_risk\nversion: 9\n")
    before = repository.read("main", "triton_models/als_risk/release.yaml")
    add_model(repository, folder)
    assert repository.log(limit=1)[0].subject == "Change the contract or cohort of als_risk"
    assert repository.read("main", "triton_models/als_risk/release.yaml") == before


def test_a_contract_that_is_not_valid_is_refused_and_nothing_is_committed(
    repository: Repository, tmp_path: Path
) -> None:
    folder = scaffold(tmp_path / "mine", "kidney_decline", "classification", None)
    (folder / "model.yaml").write_text((folder / "model.yaml").read_text() + "surprise: 1\n")
    before = repository.head()
    with pytest.raises(ContractInvalid, match="surprise"):
        add_model(repository, folder)
    assert repository.head() == before
