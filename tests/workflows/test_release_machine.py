"""A model's life at random on the real path: people push to a guarded repository, a reconciler that may be killed follows, Triton answers.

Whatever people try and in whatever order, what serves was approved, and what serves is what git says.
"""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
import yaml
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.fixtures.reconciler import ROW, Scene
from tests.fixtures.releases import GRADUAL, make_key
from tests.fixtures.triton import TritonProcess
from tests.workflows.test_reconcile_killed import reconcile_and_die

from medtower.adapters.triton import Triton
from medtower.domain.contract import Role
from medtower.domain.rollout import IMMEDIATE, Plan
from medtower.errors import MedtowerError
from medtower.workflows import model_tree
from medtower.workflows.deactivate import deactivate
from medtower.workflows.reconcile.parts import STEPS

STAGED = Plan(strategy="staged", steps=[50, 100], hold_hours=0, shadow_hours=1)
PLANS = st.sampled_from([IMMEDIATE, GRADUAL, GRADUAL, STAGED])
Served = list[tuple[str, int, float]]


class Promoted(NamedTuple):
    digest: str
    commit: str


class Life(RuleBasedStateMachine):
    """`stack` are the promotions that were accepted and not taken back, oldest first; `reverts` the commits that took something back and that
    nobody tried to revert yet; `heads` every main that was seen; `rolling` says that a rollout is under way, `due` that the reconciler has
    something to do."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene, self.world, self.model = scene, scene.world, scene.model
        self.repository = self.world.repository
        self.world.guard()
        self.forger = make_key(self.world.root, "forger")
        self.versions = 0
        self.stack: list[Promoted] = []
        self.reverts: list[str] = []
        self.heads = [str(self.repository.head())]
        self.rolling = self.due = False

    def teardown(self) -> None:
        self.converge()
        self.scene.triton.unload(self.model)

    # what people do

    @initialize(seen=st.booleans())
    def a_first_version(self, seen: bool) -> None:
        self.promote(IMMEDIATE, seen=seen)

    @rule(plan=PLANS, seen=st.booleans())
    def promote(self, plan: Plan, seen: bool) -> None:
        """Not before the last signature, whichever way it comes."""
        allowed = self.may_promote(plan)
        version = self.propose(plan, self.world.roles[:-1])
        for way in (self.world.merge, self.push_by_hand):
            assert not self.promoted(way, version)
        with self.world.unguarded():
            self.world.approve(self.model, version, self.world.roles[-1])
        assert self.promoted(self.world.merge, version) == allowed
        self.look(seen)

    @rule(plan=PLANS, clean_rebase=st.booleans(), seen=st.booleans())
    def race(self, plan: Plan, clean_rebase: bool, seen: bool) -> None:
        """Two were approved to replace the same version: the second must be approved again, also when git would rebase it."""
        allowed = self.may_promote(plan)
        first, second = (self.propose(plan, self.world.roles) for _ in range(2))
        assert self.promoted(self.world.merge, first) == allowed
        assert not self.promoted(self.push_by_hand if clean_rebase else self.world.merge, second)
        self.look(seen)

    @precondition(lambda self: self.rolling)
    @rule()
    def step(self) -> None:
        """One at a time, in the hand of the rollout bot."""
        skipped = self.world.next_step(self.model).step + 1
        assert not self.attempt(lambda: self.world.advance(self.model, step=skipped))
        assert not self.attempt(lambda: self.world.advance(self.model, key=self.forger))
        assert self.attempt(lambda: self.world.advance(self.model))
        self.converge()

    @precondition(lambda self: self.stack)
    @rule(seen=st.booleans())
    def revert(self, seen: bool) -> None:
        """A plain `git revert`: always possible, at any step of a rollout, without approvals and without conflict."""
        bad = self.stack.pop()
        assert self.attempt(lambda: self.world.revert(bad.commit))
        self.reverts.append(self.heads[-1])
        self.look(seen)

    @precondition(lambda self: self.reverts)
    @rule(seen=st.booleans())
    def revert_a_revert(self, seen: bool) -> None:
        """What was taken back does not return, by `git revert` while that applies, nor as the bytes that it was."""
        commit = self.reverts.pop()
        if commit == self.heads[-1]:
            assert not self.attempt(lambda: self.world.revert(commit))
        path = model_tree.path(self.model, "release.yaml")
        before = self.repository.read(f"{commit}~1", path)
        assert not self.attempt(lambda: self.world.write(path, before))
        self.look(seen)

    @precondition(lambda self: self.stack)
    @rule(seen=st.booleans())
    def stop_serving(self, seen: bool) -> None:
        assert self.attempt(lambda: deactivate(self.repository, self.model, "at random"))
        self.stack.clear()
        self.reverts.append(self.heads[-1])
        self.look(seen)

    # what happens to the reconciler

    @precondition(lambda self: self.due)
    @rule(step=st.sampled_from(STEPS))
    def crash(self, step: str) -> None:
        """kill -9 at a step of a pass, when the pass comes to it; whatever is routed then answers, and a new process goes on."""
        before, wanted = self.routed(), self.said()
        process = multiprocessing.get_context("fork").Process(
            target=reconcile_and_die, args=(self.scene, step)
        )
        process.start()
        process.join(60)
        assert process.exitcode in (-9, 0)
        assert self.routed() in (before, wanted)
        self.all_answer()
        self.scene.start()
        self.converge()

    def look(self, seen: bool) -> None:
        """Sometimes the reconciler comes between two things that people do, sometimes it finds several at once."""
        if seen:
            self.converge()

    def converge(self) -> None:
        assert self.scene.once() == "ok"
        self.due = False
        assert self.routed() == self.said()
        route = self.scene.route()
        serving = {arm.digest for arm in route.arms} | ({route.shadow.digest} if route.shadow else set())
        assert serving <= {promoted.digest for promoted in self.stack}
        self.all_answer()

    def all_answer(self) -> None:
        for _, version, _ in self.routed():
            assert self.scene.triton.infer(self.model, version, [ROW]) == [6.0 + version]

    @invariant()
    def main_says_what_was_allowed_and_only_moves_forward(self) -> None:
        assert self.repository.head() == self.heads[-1]
        line = [commit.id for commit in reversed(self.repository.log("main"))]
        assert line == self.heads
        digest = model_tree.release_at(self.repository, "main", self.model).digest
        assert digest == (self.stack[-1].digest if self.stack else None)

    # how they do it

    def may_promote(self, plan: Plan) -> bool:
        """A rollout under way is waited for, but not by an emergency fix."""
        return not self.rolling or plan is IMMEDIATE

    def propose(self, plan: Plan, signed: Sequence[Role]) -> int:
        """A proposal with these signatures; the hook has nothing to say about its branch."""
        self.versions += 1
        with self.world.unguarded():
            self.world.propose(self.model, self.versions, plan=plan if self.stack else IMMEDIATE)
            self.world.approve(self.model, self.versions, *signed)
        return self.versions

    def push_by_hand(self, model: str, version: int) -> None:
        """Past every workflow: everything of the branch on top of main, in one commit."""
        with self.repository.checkout() as work:
            work.git("checkout", f"origin/{model_tree.branch(model, version)}", "--", ".")
            work.commit("Merge by hand")
            work.push(expected=work.tip)

    def promoted(self, way: Callable[[str, int], object], version: int) -> bool:
        if not self.attempt(lambda: way(self.model, version)):
            return False
        digest = model_tree.release_at(self.repository, "main", self.model).digest
        self.stack.append(Promoted(str(digest), self.heads[-1]))
        return True

    def attempt(self, action: Callable[[], object]) -> bool:
        """Try it; what is refused changes nothing, what is accepted is one commit."""
        try:
            action()
        except (MedtowerError, subprocess.CalledProcessError):
            assert self.repository.head() == self.heads[-1]
            return False
        self.heads.append(str(self.repository.head()))
        self.rolling, self.due = len(self.said()) == 2, True
        return True

    # who is served

    def said(self) -> Served:
        """What the files on main say, read as text."""
        release, traffic = self.document("release.yaml"), self.document("traffic.yaml")
        version, digest, plan = (release.get(name) for name in ("version", "digest", "rollout"))
        if version is None:
            return []
        weights = [0.0] * (plan["strategy"] == "staged") + plan["steps"]
        reached = traffic["step"] if traffic.get("digest") == digest else 0
        weight = 100.0 if digest in traffic.get("completed", []) else weights[reached]
        if weight == 100:
            return [("current", version, 100.0)]
        old = ("current", release["replaces"], 100 - weight)
        return [old, ("candidate" if weight else "shadow", version, weight)]

    def document(self, name: str) -> dict[str, object]:
        found = yaml.safe_load(self.repository.read("main", model_tree.path(self.model, name)) or b"{}")
        assert isinstance(found, dict)
        return found

    def routed(self) -> Served:
        """What the routing table says."""
        if not self.scene.routing.exists():
            return []
        route = self.scene.route()
        shadow = [("shadow", route.shadow.version, 0.0)] if route.shadow else []
        return [(arm.name, arm.version, arm.weight) for arm in route.arms] + shadow


def test_what_serves_was_approved_and_is_what_git_says(
    tmp_path_factory: pytest.TempPathFactory, triton_process: TritonProcess, triton_client: Triton
) -> None:
    """A failure is shown as it happened: on the real path, looking for a smaller one would take hours."""
    run_state_machine_as_test(
        seed(724)(lambda: Life(Scene(tmp_path_factory.mktemp("life"), triton_process, triton_client))),
        settings=settings(
            max_examples=5,
            stateful_step_count=9,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
