"""Bring a model's folder to the tower: its contract and its cohort, as one commit on main. What serves does not change."""

from __future__ import annotations

import shutil
from pathlib import Path

from medtower.adapters import contracts
from medtower.adapters.git import Repository
from medtower.domain.release import Release
from medtower.releases import kustomization, release_file
from medtower.workflows import model_tree

WRITTEN_BY_PEOPLE = ("model.yaml", "cohort.yaml", kustomization.NAME)


def add_model(repository: Repository, folder: Path) -> str | None:
    """Copy what people write of `folder` to main and return the commit; None when main says so already.

    A model that is there keeps its release and its dossiers: a changed contract counts from the next trained version on. Raises
    ContractInvalid, and Refused for links.
    """
    contract = contracts.read(folder)
    contracts.read_cohort(folder)
    return model_tree.until_pushed(repository, lambda: _add(repository, folder, contract.name))


def _add(repository: Repository, folder: Path, name: str) -> str | None:
    with repository.checkout() as work:
        target = work.folder / model_tree.path(name)
        known = target.exists()
        target.mkdir(parents=True, exist_ok=True)
        for file in WRITTEN_BY_PEOPLE:
            # a proposal keeps the kustomization of a model that is there: it names the evidence of what is released
            if (folder / file).is_file() and not (file == kustomization.NAME and (target / file).exists()):
                shutil.copyfile(folder / file, target / file)
        if not (target / release_file.NAME).exists():
            release = Release(model=name, reason="no version released yet")
            (target / release_file.NAME).write_bytes(release_file.render(release))
        if not work.git("status", "--porcelain").strip():
            return None
        commit = work.commit(f"Change the contract or cohort of {name}" if known else f"Add the model {name}")
        work.push(expected=work.tip)
        return commit
