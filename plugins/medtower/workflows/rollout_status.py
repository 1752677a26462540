"""How far each released version's rollout has got, as the repository says it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medtower.adapters.git import MAIN, Repository
from medtower.domain.release import Release
from medtower.domain.rollout import stage
from medtower.errors import MedtowerError
from medtower.releases import traffic_file
from medtower.workflows import model_tree


@dataclass(frozen=True)
class ReleaseStatus:
    """What main releases of one model, and to whom; `problem` says why its files cannot be read or do not count."""

    model: str
    version: int | None = None
    stage: str = ""
    problem: str = ""

    def __str__(self) -> str:
        what = f"version {self.version} is released" if self.version else "no model is released"
        line = f"{self.model}: {what}" + (f", {self.stage}" if self.stage else "")
        return f"{line}\n  problem: {self.problem}" if self.problem else line


def releases(
    repository: Repository, allowed_signers: Path, *, model: str | None = None
) -> list[ReleaseStatus]:
    """What main releases of every model, or of `model`, in the order of their names."""
    entries = [e for e in repository.entries(f"{MAIN}:{model_tree.FOLDER}") if e.kind == "tree"]
    return [
        _release(repository, e.path, allowed_signers)
        for e in sorted(entries, key=lambda e: e.path)
        if model in (None, e.path)
    ]


def _release(repository: Repository, model: str, allowed_signers: Path) -> ReleaseStatus:
    release: Release | None = None
    try:
        release = model_tree.release_at(repository, MAIN, model)
        if release.version is None:
            return ReleaseStatus(model, stage=release.reason)
        return ReleaseStatus(model, release.version, _stage(repository, release, allowed_signers))
    except MedtowerError as error:
        return ReleaseStatus(model, release.version if release else None, problem=str(error))


def _stage(repository: Repository, release: Release, allowed_signers: Path) -> str:
    plan, digest = release.rollout, release.digest
    if plan is None or digest is None:
        return ""
    with model_tree.exported(repository, MAIN, release.model) as folder:
        traffic = traffic_file.verify(folder, allowed_signers)
    reached = stage(plan, digest, traffic)
    share = plan.stages[reached]
    if reached == len(plan.stages) - 1:
        return "to everybody"
    steps = " → ".join(f"{s:g} %" for s in plan.stages[reached + 1 :])
    now = f"in the shadow of version {release.replaces}" if share == 0 else f"to {share:g} % of patients"
    return f"{now} (stage {reached + 1} of {len(plan.stages)}, {plan.strategy}; next {steps})"
