"""kill -9 of a reconciler's process after each of its steps; a new one goes on from there. Real git, a real Triton, a real process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable

import pytest
from tests.fixtures.reconciler import Scene

from medtower.adapters.triton import Triton
from medtower.serving import routing
from medtower.workflows.deactivate import deactivate
from medtower.workflows.reconcile.parts import STEPS


def die_at(step: str) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def reconcile_and_die(scene: Scene, step: str) -> None:
    # connections are not shared between processes
    process = scene.process
    scene.triton = Triton(process.url, process.admin_key, grpc_url=process.grpc_url)
    scene.start(reached=die_at(step))
    scene.once()


@pytest.mark.parametrize("step", STEPS)
def test_a_reconciler_killed_after_any_step_converges_when_it_is_started_again(
    scene: Scene, step: str
) -> None:
    scene.promote(1)
    scene.once()
    before = scene.reconciler._store.aside(float("inf"))  # the store is shared with other tests' models
    scene.promote(2)
    process = multiprocessing.get_context("fork").Process(target=reconcile_and_die, args=(scene, step))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert scene.answer() in (1.0, 2.0)  # whatever is routed to answers
    scene.events.clear()
    scene.start()
    assert scene.once() == "ok"
    assert (scene.answer(), scene.ready()) == (2.0, {1, 2})
    # the trail ends with what serves, also when the killed process published without saying so
    assert [e.details["arms"] for e in scene.events if e.subject == f"{scene.model} 2"] == ["current:2@100"]
    assert scene.reconciler._store.aside(float("inf")) == before


def test_a_deactivation_that_a_killed_reconciler_published_is_told_by_the_next_one(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    deactivate(scene.world.repository, scene.model, "the assay was changed")
    process = multiprocessing.get_context("fork").Process(target=reconcile_and_die, args=(scene, "published"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    scene.start()
    assert scene.once() == "ok"
    assert [e.details["arms"] for e in scene.events] == ["current:1@100", ""]


def test_a_withdrawal_that_a_killed_reconciler_published_is_told_by_the_next_one(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    with scene.world.repository.checkout() as work:
        shutil.rmtree(work.folder / "triton_models" / scene.model)
        work.commit("Remove the model")
        work.push(expected=work.tip)
    process = multiprocessing.get_context("fork").Process(target=reconcile_and_die, args=(scene, "published"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    scene.start()
    scene.reconciler.once()
    assert scene.model not in routing.read(scene.routing).routes
    told = [e.details["arms"] for e in scene.events]
    assert (told[0], set(told[1:])) == ("current:1@100", {""})
