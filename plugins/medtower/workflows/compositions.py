"""Compositions beside what is released: a proposal must neither be one that nobody can answer for, nor take a released one out of service."""

from __future__ import annotations

from medtower.adapters.git import MAIN, Repository
from medtower.domain.composition_fit import misfits
from medtower.domain.contract import Contract
from medtower.errors import Refused
from medtower.releases import plain_yaml
from medtower.workflows import model_tree


def check_fits(repository: Repository, contract: Contract) -> None:
    """Raise Refused when `contract` is a composition that does not fit the models released on main, or a released composition would no longer fit it.

    The gateway checks the same when it loads its routing, and withholds what does not fit: this says so before anybody signs.
    """
    released = _released(repository)
    if problems := misfits(contract, {name: [each] for name, each in released.items()}):
        raise Refused("composition", f"{contract.name} does not fit what is released: {'; '.join(problems)}")
    before = {name: [each] for name, each in released.items()}
    after = before | {contract.name: [contract]}
    for name, composing in released.items():
        broken = misfits(composing, after) if name != contract.name else []
        if broken and not misfits(composing, before):
            raise Refused(
                "composition",
                f"{name} is composed of {contract.name} and would not be answered any more: {'; '.join(broken)}; "
                f"release a version of {name} first that fits both",
            )


def _released(repository: Repository) -> dict[str, Contract]:
    """The contract of every version that main releases, as it was signed."""
    found = {}
    for name, release in model_tree.released(repository).items():
        if release.version is None:
            continue
        path = model_tree.path(name, "dossiers", str(release.version), "model.yaml")
        content = repository.read(MAIN, path)
        if content is not None:
            found[name] = Contract.model_validate(plain_yaml.load(content))
    return found
