"""Compositions beside what is released: a version must neither be one that nobody can answer for, nor take a released one out of service."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from pydantic import ValidationError

from medtower.adapters.git import MAIN, Repository
from medtower.domain import rollout
from medtower.domain.composition_fit import misfits
from medtower.domain.contract import Contract
from medtower.domain.release import Release
from medtower.errors import MedtowerError, Refused
from medtower.releases import plain_yaml
from medtower.workflows import history, model_tree

log = logging.getLogger(__name__)


def check_fits(repository: Repository, contract: Contract, *, at: str = MAIN) -> None:
    """Raise Refused when `contract` is a composition that does not fit the models released at the commit `at`, or a composition released there would
    not fit it. Every version counts that requests are sent to: while a rollout goes on, the incumbent too.

    The gateway checks the same when it loads its routing, and withholds what does not fit: this says so when a version is proposed, before anybody
    signs, and again when it is merged, since main may have moved on.
    """
    before = _released(repository, at)
    if problems := misfits(contract, before):
        raise Refused("composition", f"{contract.name} does not fit what is released: {'; '.join(problems)}")
    after = before | {contract.name: [*before.get(contract.name, ()), contract]}
    for name, arms in before.items():
        for composing in arms if name != contract.name else ():
            broken = misfits(composing, after)
            if broken and not misfits(composing, before):
                raise Refused(
                    "composition",
                    f"{name} is composed of {contract.name} and would not be answered any more: {'; '.join(broken)}; "
                    f"release a version of {name} first that fits both",
                )


def _released(repository: Repository, ref: str) -> dict[str, list[Contract]]:
    """By model, the contract of every version that `ref` sends requests to, as it was signed."""
    found = {}
    for name, release in model_tree.released(repository, ref).items():
        if contracts := list(_serving(repository, ref, name, release)):
            found[name] = contracts
    return found


def _serving(repository: Repository, ref: str, name: str, release: Release) -> Iterator[Contract]:
    for version in _versions(repository, ref, name, release):
        path = model_tree.path(name, "dossiers", str(version), "model.yaml")
        try:
            content = repository.read(ref, path)
            if content is not None:
                yield Contract.model_validate(plain_yaml.load(content))
        except (MedtowerError, ValidationError, plain_yaml.NotPlain):
            log.warning("a released contract cannot be read", extra={"model": name, "version": version})


def _versions(repository: Repository, ref: str, name: str, release: Release) -> list[int]:
    """The released version, and the one that it replaces until its rollout is complete."""
    plan, digest = release.rollout, release.digest
    if release.version is None or plan is None or digest is None:
        return [] if release.version is None else [release.version]
    stage = rollout.stage(plan, digest, history.traffic_at(repository, ref, name))
    under_way = release.replaces is not None and stage < len(plan.stages) - 1
    return [release.version, *([release.replaces] if under_way and release.replaces else [])]
