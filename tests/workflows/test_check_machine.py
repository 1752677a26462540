"""A releases' life at random against a real guarded repository: whatever people try and in whatever order, three things stay true."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fixtures.releases import GRADUAL, World

from medtower.domain.rollout import IMMEDIATE
from medtower.errors import MedtowerError
from medtower.releases import release_file
from medtower.workflows import history, model_tree
from medtower.workflows.deactivate import deactivate
from medtower.workflows.rollback import rollback

MODEL = "sum_model"
RELEASE = f"triton_models/{MODEL}/{release_file.NAME}"


class Releases(RuleBasedStateMachine):
    """`approved` are the digests that a whole quorum signed, `gone` those that were taken back, `heads` every main that was seen."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="medtower-machine-")
        self.world = World(Path(self._folder.name), MODEL)
        self.world.guard()
        self.versions = 0
        self.open: list[int] = []
        self.approved: set[str] = set()
        self.gone: set[str] = set()
        self.heads = [str(self.world.repository.head())]
        self.reverts: list[str] = []

    def teardown(self) -> None:
        self._folder.cleanup()

    def current(self) -> str | None:
        return model_tree.release_at(self.world.repository, "main", MODEL).digest

    def attempt(self, action: object, *arguments: object, **named: object) -> bool:
        """Try it as people do; a refusal changes nothing."""
        head, released = self.world.repository.head(), self.current()
        try:
            action(*arguments, **named)  # type: ignore[operator]
        except MedtowerError:
            assert self.world.repository.head() == head
            return False
        self.note(released)
        return True

    def note(self, before: str | None) -> None:
        self.heads.append(str(self.world.repository.head()))
        state = history.ledger(self.world.repository, "main", MODEL)
        alive = {entry.release.digest for entry in state.stack}
        if before is not None and before not in alive:
            self.gone |= {
                digest for digest in self.approved if digest not in alive and digest in state.taken_back
            }

    @initialize()
    def a_first_version(self) -> None:
        self.propose_and_approve(gradual=False, complete=True)
        self.merge_one(0)

    @rule(gradual=st.booleans(), complete=st.sampled_from([True, True, True, False]))
    def propose_and_approve(self, gradual: bool, complete: bool) -> None:
        self.versions += 1
        with self.world.unguarded():
            self.world.propose(MODEL, self.versions, plan=GRADUAL if gradual else IMMEDIATE)
            self.world.approve(
                MODEL, self.versions, *(self.world.roles if complete else self.world.roles[:3])
            )
        branch = model_tree.branch(MODEL, self.versions)
        digest = model_tree.release_at(self.world.repository, branch, MODEL).digest
        if complete and digest:
            self.approved.add(digest)
        self.open.append(self.versions)

    @precondition(lambda self: self.open)
    @rule(index=st.integers(0, 5))
    def merge_one(self, index: int) -> None:
        version = self.open[index % len(self.open)]
        if self.attempt(self.world.merge, MODEL, version):
            self.open.remove(version)

    @precondition(lambda self: self.open)
    @rule()
    def push_a_proposal_as_it_is(self) -> None:
        """Past every workflow: the branch's files on top of main."""
        tip = model_tree.branch(MODEL, self.open[-1])
        files = self.world.repository.read(tip, RELEASE)
        self.attempt(self.world.write, RELEASE, files)

    @rule(skip=st.booleans())
    def step(self, skip: bool) -> None:
        release = model_tree.release_at(self.world.repository, "main", MODEL)
        if release.rollout is not None:
            further = {"step": self.world.next_step(MODEL).step + 1} if skip else {}
            moved = self.attempt(self.world.advance, MODEL, **further)
            assert not (moved and skip)

    @rule()
    def take_back(self) -> None:
        if self.attempt(rollback, self.world.repository, MODEL, "at random"):
            self.reverts.append(self.heads[-1])

    @precondition(lambda self: self.reverts)
    @rule(index=st.integers(0, 5))
    def revert_a_revert(self, index: int) -> None:
        """The old release.yaml comes back as it was before it was taken back."""
        commit = self.reverts[index % len(self.reverts)]
        release = self.world.repository.read(f"{commit}~1", RELEASE)
        with pytest.raises(MedtowerError):
            self.world.write(RELEASE, release)

    @rule()
    def stop_serving(self) -> None:
        self.attempt(deactivate, self.world.repository, MODEL, "at random")

    @invariant()
    def what_main_releases_was_approved(self) -> None:
        digest = self.current()
        assert digest is None or digest in self.approved

    @invariant()
    def what_was_taken_back_does_not_return(self) -> None:
        assert self.current() not in self.gone

    @invariant()
    def main_only_moves_forward(self) -> None:
        repository = self.world.repository
        assert repository.head() == self.heads[-1]
        line = [commit.id for commit in repository.log("main")]
        assert [h for h in reversed(line) if h in self.heads] == list(dict.fromkeys(self.heads))


Releases.TestCase.settings = settings(
    max_examples=4,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestReleases = Releases.TestCase
