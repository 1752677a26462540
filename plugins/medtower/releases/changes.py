"""Which files one commit may change, by what it does: promote, take back, deactivate, advance, or write what people write."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medtower.domain.contract import MODEL_NAME
from medtower.domain.file_change import PLAIN_FILE, FileChange
from medtower.domain.tree import MODELS, TRUST
from medtower.errors import Refused
from medtower.releases import kustomization, policy, release_file, traffic_file

LONGEST_PATH = 1000  # bytes; a disk takes some more, and a model's longest path has a tenth
CONFIG, CONTRACT = "config.pbtxt", "model.yaml"
BY_PEOPLE = frozenset({CONTRACT, "cohort.yaml"})
BY_BOT = frozenset({traffic_file.NAME, traffic_file.SIGNATURE})
BY_PROMOTION = frozenset({release_file.NAME, CONFIG})
DERIVED = frozenset(
    {kustomization.NAME}
)  # from the manifest: a promotion or its revert may change it, but need not
# what nothing obeys yet may be written by people too
UNRELEASED = BY_PEOPLE | BY_PROMOTION | DERIVED

Files = Mapping[str, FileChange]  # by the name inside the model's folder (or inside trust/)
Ids = Mapping[str, str]  # git's ids of files and folders, by the name inside the model's folder


@dataclass(frozen=True)
class Change:
    """A commit's changes: of each model, of the trust root, and the paths of all others, which no rule of ours judges."""

    models: dict[str, dict[str, FileChange]] = field(default_factory=dict)
    trust: dict[str, FileChange] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def split(files: Sequence[FileChange]) -> Change:
    """Sort the files of one commit. Raises Refused (tree) for links, submodules and paths too long for a disk, and (stray) for what belongs to no model."""
    change = Change()
    for file in files:
        if file.after is not None and len(os.fsencode(file.path)) > LONGEST_PATH:
            raise Refused(
                "tree", f"{_shown(file.path)}… is longer than {LONGEST_PATH} bytes; shorten the path"
            )
        top, _, rest = file.path.partition("/")
        if top not in (MODELS, TRUST):
            change.others.append(file.path)
            continue
        if file.after is not None and file.mode not in PLAIN_FILE:
            raise Refused(
                "tree", f"{_shown(file.path)} is a link or a submodule; only plain files may be released"
            )
        if top == TRUST:
            change.trust[rest] = file
            continue
        model, _, name = rest.partition("/")
        if MODEL_NAME.fullmatch(model) and name:
            change.models.setdefault(model, {})[name] = file
        elif file.after is not None:
            raise Refused("stray", f"{_shown(file.path)} belongs to no model; remove it")
    return change


def check_alone(change: Change, what: str, model: str | None = None) -> None:
    """Raise Refused when anything travels with `what`: another model, code, the trust root."""
    strangers = [f.path for m, files in change.models.items() if m != model for f in files.values()]
    strangers += change.others
    strangers += [f.path for f in change.trust.values()] if model else []
    if strangers:
        raise Refused("scope", f"{_shown(min(strangers))} does not belong to {what}; commit it separately")


def check_promotion(model: str, files: Files, version: int) -> None:
    """A promotion brings its evidence and nothing else: its revert must not touch what people write."""
    for name, file in files.items():
        if name not in BY_PROMOTION | DERIVED and not name.startswith(f"dossiers/{version}/"):
            raise Refused(
                "scope", f"{_shown(file.path)} does not belong to the promotion of {model} {version}"
            )


def taken_along(popped: Sequence[int]) -> list[str]:
    """The names in a model's folder that go back, with all that is in them, when the promotions of `popped` are taken back."""
    return [*sorted(BY_PROMOTION | DERIVED), *(f"dossiers/{version}" for version in popped)]


def check_rollback(model: str, files: Files, popped: Sequence[int], then: Ids, now: Ids) -> None:
    """A rollback is exactly the inverse of the promotions of `popped`: release, config and dossiers are as they were before the first."""
    judged = taken_along(popped)
    for name in judged:
        if then.get(name) != now.get(name):
            raise Refused(
                "inverse",
                f"{model}/{name} is not as it was before what is taken back; use git revert, and change nothing else",
            )
    _check_inverse_only(model, files, judged)


def check_deactivation(model: str, files: Files, popped: Sequence[int], then: Ids, now: Ids) -> None:
    """A deactivation changes release.yaml; as a revert of the first promotion it takes that one's other files along, whole."""
    judged = [CONFIG, *sorted(DERIVED), *(f"dossiers/{version}" for version in popped)]
    for name in judged:
        touched = any(inside(changed, [name]) for changed in files)
        if touched and then.get(name) != now.get(name):
            raise Refused(
                "inverse",
                f"{model}/{name} is neither kept nor as it was before; run: medtower deactivate {model}",
            )
    if release_file.NAME not in now and release_file.NAME in then:
        raise Refused("folder", f"{model}/{release_file.NAME} may not go; run: medtower deactivate {model}")
    _check_inverse_only(model, files, [*judged, release_file.NAME])


def inside(name: str, judged: Sequence[str]) -> bool:
    """True when `name` is one of `judged`, or lies in one."""
    return any(name == each or name.startswith(f"{each}/") for each in judged)


def _check_inverse_only(model: str, files: Files, judged: Sequence[str]) -> None:
    for name, file in files.items():
        if not inside(name, judged):
            raise Refused(
                "scope", f"{_shown(file.path)} does not belong to taking {model} back; commit it separately"
            )


def is_step(files: Files) -> bool:
    """True when the rollout bot's files change: then it is a step, and must be one wholly."""
    return any(name in BY_BOT for name in files)


def check_step(model: str, files: Files) -> None:
    """A step writes traffic.yaml and its signature together, and nothing else."""
    for name, file in files.items():
        if name not in BY_BOT:
            raise Refused("scope", f"{_shown(file.path)} does not belong to a rollout step of {model}")
        if file.after is None:
            raise Refused(
                traffic_file.RULE, f"{_shown(file.path)} may not go: it says which releases served everybody"
            )


def check_written_by_people(model: str, files: Files, *, released: bool) -> None:
    """Contract and cohort are people's; what a release binds changes with a release only, and what fits nowhere may only go."""
    for name, file in files.items():
        if name in (CONTRACT, release_file.NAME) and file.after is None:
            raise Refused("folder", f"{_shown(file.path)} may not go; run: medtower deactivate {model}")
        if name in (BY_PEOPLE if released else UNRELEASED):
            continue
        if name.split("/")[0] in policy.MODEL_FILES:
            raise Refused(
                "release", f"{_shown(file.path)} changes by a promotion or a rollback only; restore it"
            )
        if file.after is not None:
            raise Refused("stray", f"{_shown(file.path)} does not belong there; remove it")


def _shown(path: str) -> str:
    return ascii(path[:200])[1:-1]
