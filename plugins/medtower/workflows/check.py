"""The release policy at merge time, with git's history: may main go from one commit to another?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from medtower.adapters import git_history
from medtower.adapters.git import Repository
from medtower.adapters.git_history import Step
from medtower.domain.contract import MODEL_NAME, ROLES, Role
from medtower.domain.rollout import Traffic
from medtower.errors import Refused
from medtower.releases import (
    changes,
    dossier,
    kustomization,
    ledger,
    policy,
    release_file,
    steps,
    traffic_file,
)
from medtower.releases.changes import Change, Files
from medtower.releases.ledger import Deactivation, Promotion, Rollback
from medtower.workflows import check_trust, compositions, history, model_tree


@dataclass(frozen=True)
class Rules:
    """What a tower asks for: the roles of its quorum, its environment, and the installed trust root where there is one.

    `now` (aware) is the judge's clock: nothing is dated after it; None where there is none. `arriving` is True where commits are on their way to main, so
    that nothing is dated long before `now` either; it is False where they may be there already.
    """

    environment: str
    required: Sequence[Role] = ROLES
    trust_root: Path | None = None
    now: datetime | None = None
    arriving: bool = True


def check(repository: Repository, old: str, new: str, rules: Rules) -> None:
    """Raise Refused and its kin, naming the commit and the rule, unless every step of main from `old` to `new` keeps the rules.

    Signatures are judged as of now, against the trust root that git holds at each step and against the installed one.
    """
    for step in git_history.steps(repository, old, new):
        _check_step(repository, step, rules)


def check_squashed(repository: Repository, base: str, head: str, rules: Rules) -> None:
    """The same for a proposal that is merged as one commit: what main would be if `head` were squashed onto `base`. Raises Conflict too."""
    check(repository, base, git_history.squashed(repository, base, head), rules)


def _check_step(repository: Repository, step: Step, rules: Rules) -> None:
    change = changes.split(git_history.changes(repository, step.parent, step.commit))
    if change.trust:
        changes.check_alone(change, "a change of the trust root")
        _check_squash(step, "a change of the trust root")
        check_trust.check(repository, step, rules.environment, rules.required, rules.trust_root)
    _check_names(repository, step)
    for model, files in change.models.items():
        _Model(repository, step, rules, change, model, files).check()


def _check_names(repository: Repository, step: Step) -> None:
    """A folder without files is in no list of changed files, and is a model by its name all the same."""

    def names(commit: str) -> set[str]:
        return {entry.path for entry in repository.entries(f"{commit}:{model_tree.FOLDER}")}

    new = sorted(names(step.commit) - names(step.parent))
    if strangers := [name for name in new if not MODEL_NAME.fullmatch(name)]:
        raise Refused("stray", f"{strangers[0][:200]!a} in {model_tree.FOLDER} is no model; remove it")


def _check_squash(step: Step, what: str) -> None:
    if step.merged:
        raise Refused(
            "squash",
            f"{step.commit[:10]} merges {what} with its branch; squash it into one commit that git revert can take back",
        )


@dataclass(frozen=True)
class _Model:
    """What one step does to one model."""

    repository: Repository
    step: Step
    rules: Rules
    change: Change
    name: str
    files: Files

    def check(self) -> None:
        if release_file.NAME in self.files:
            self._check_release()
        elif changes.is_step(self.files):
            self._check_traffic()
        else:
            released = history.ledger(self.repository, self.step.parent, self.name).current is not None
            self._check_written_by_people(released)

    def _check_written_by_people(self, released: bool) -> None:
        changes.check_written_by_people(self.name, self.files, released=released)
        if kustomization.NAME in self.files:
            with self._exported() as folder:
                kustomization.check(folder, None)

    def _check_release(self) -> None:
        state = history.ledger(self.repository, self.step.parent, self.name)
        new = model_tree.release_at(self.repository, self.step.commit, self.name)
        traffic = history.traffic_at(self.repository, self.step.parent, self.name)
        kind = ledger.classify(state, new, traffic)
        if isinstance(kind, Promotion):
            self._check_promotion(kind)
        elif isinstance(kind, Rollback | Deactivation):
            self._check_taking_back(kind)
        else:
            self._check_written_by_people(state.current is not None)

    def _check_promotion(self, kind: Promotion) -> None:
        version = kind.release.version or 0
        changes.check_promotion(self.name, self.files, version)
        changes.check_alone(self.change, f"the promotion of {self.name} {version}", self.name)
        _check_squash(self.step, f"the promotion of {self.name} {version}")
        self._check_time(version)
        with self._exported() as folder, self._roots() as roots:
            for root in roots:
                _, manifest = policy.verify(folder, root, self.rules.environment, self.rules.required)
                kustomization.check(folder, manifest)
            contract = dossier.read_contract(policy.dossier_of(folder, version))
        compositions.check_fits(self.repository, contract, at=self.step.parent)

    def _check_time(self, version: int) -> None:
        """The hours of the first stage, and what `medtower exposure` tells, count from the promotion's own time."""
        if self.rules.now is None:
            return
        at = self._at(self.step.commit)
        late = at - self.rules.now
        if late > steps.CLOCKS_DIFFER or (self.rules.arriving and -late > steps.CLOCKS_DIFFER):
            raise Refused(
                "time",
                f"the promotion of {self.name} {version} is dated {at:%Y-%m-%d %H:%M:%SZ}, which is not now; commit it again",
            )

    def _check_taking_back(self, kind: Rollback | Deactivation) -> None:
        """No signature is asked for: what comes back is, byte for byte, what was approved."""
        versions = [entry.release.version or 0 for entry in kind.popped]
        before = kind.popped[0].before
        then = self._ids(before) if before else {}
        now = self._ids(self.step.commit)
        rule = changes.check_rollback if isinstance(kind, Rollback) else changes.check_deactivation
        rule(self.name, self.files, versions, then, now)
        changes.check_alone(self.change, f"taking {self.name} back", self.name)

    def _check_traffic(self) -> None:
        changes.check_step(self.name, self.files)
        changes.check_alone(self.change, f"a rollout step of {self.name}", self.name)
        _check_squash(self.step, f"a rollout step of {self.name}")
        state = history.ledger(self.repository, self.step.parent, self.name)
        before = history.traffic_at(self.repository, self.step.parent, self.name)
        with self._exported() as folder, self._roots() as roots:
            for root in roots:
                after = traffic_file.verify(folder, root)
                # the same words signed anew: the bot's key was changed
                if after is not None and traffic_file.NAME in self.files:
                    self._check_traffic_step(state, before, after)

    def _check_traffic_step(self, state: ledger.Ledger, before: Traffic | None, after: Traffic) -> None:
        steps.check_step(
            state.current,
            before,
            after,
            promoted=self._at(state.stack[-1].commit if state.stack else self.step.parent),
            now=self.rules.now,
            arriving=self.rules.arriving,
        )

    def _at(self, commit: str) -> datetime:
        """When the commit was made, by its committer's clock."""
        return self.repository.log(commit, limit=1)[0].at

    def _exported(self) -> AbstractContextManager[Path]:
        return model_tree.exported(self.repository, self.step.commit, self.name)

    def _roots(self) -> AbstractContextManager[list[Path]]:
        return check_trust.roots(self.repository, self.step.parent, self.rules.trust_root)

    def _ids(self, commit: str) -> dict[str, str]:
        """Git's ids of the files of the model's folder at `commit`, and of each of its dossiers."""
        place = f"{commit}:{model_tree.path(self.name)}"
        dossiers = self.repository.entries(f"{place}/dossiers")
        return {e.path: e.id for e in self.repository.entries(place)} | {
            f"dossiers/{e.path}": e.id for e in dossiers
        }
