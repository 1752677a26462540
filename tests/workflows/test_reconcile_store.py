"""What the reconciler fetches and what it removes: downloads beside the passes, and a store that holds what a revert can bring back."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.fixtures.reconciler import Scene
from tests.fixtures.releases import World, contract_text

from medtower.domain.release import Manifest
from medtower.domain.routing import Route
from medtower.errors import Unavailable
from medtower.local.health import poll
from medtower.serving import routing
from medtower.workflows.rollback import rollback


def test_a_slow_download_of_one_model_does_not_hold_up_another_model_s_rollback(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    bad = scene.promote(2)
    slow, let_go = f"{scene.model}_slow", threading.Event()
    scene.world.write(f"triton_models/{slow}/model.yaml", contract_text(slow))

    def fetch(manifest: Manifest, destination: Path) -> None:
        if manifest.model == slow:
            assert let_go.wait(60)
        World.fetch(scene.world, manifest, destination)

    def told() -> Route:
        return routing.read(scene.routing).routes.get(slow, Route(model=slow))

    scene.world.fetch = fetch  # type: ignore[method-assign]
    scene.start()
    try:
        with scene.watching():
            poll(lambda: scene.routed() == 2, part="promotion", deadline=60)
            scene.world.promote(slow, 1)
            poll(lambda: told().reason == "version 1 is being fetched", part="the slow model", deadline=60)
            scene.world.revert(bad)
            poll(lambda: scene.routed() == 1, part="rollback", deadline=60)
            assert (told().arms, told().reason) == ([], "version 1 is being fetched")
            let_go.set()
            poll(lambda: bool(told().arms), part="the slow model", deadline=60)
    finally:
        let_go.set()
    assert [e.action for e in scene.events if slow in e.subject] == ["serves no", "serves"]


def test_a_broken_download_is_gone_on_with_where_it_stopped(scene: Scene) -> None:
    scene.promote(1)
    parts: list[int] = []

    def fetch(manifest: Manifest, destination: Path) -> None:
        content = (scene.world.shelf / manifest.model / "1.onnx").read_bytes()
        there = destination.stat().st_size if destination.exists() else 0
        parts.append(there)
        with destination.open("ab") as stream:
            stream.write(content[there : None if there else 100])
        if not there:
            raise Unavailable("MLflow", "it broke off")

    scene.world.fetch = fetch  # type: ignore[method-assign]
    scene.start()
    assert scene.once() == "unavailable"
    scene.start()  # what is there survives the process
    assert scene.once() == "ok"
    assert parts == [0, 100]
    assert scene.answer() == 1.0


def stored(scene: Scene) -> set[int]:
    return set(scene.reconciler._store.versions(scene.model))


def test_weights_that_no_recent_release_needs_are_removed(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.start(keep_releases=3)
    with caplog.at_level("INFO"):
        for version in range(1, 6):
            scene.promote(version)
            assert scene.once() == "ok"
    assert stored(scene) == {3, 4, 5}
    assert f"{scene.model}/2" in caplog.text


def test_versions_that_were_taken_back_never_push_the_way_back_out_of_the_store(scene: Scene) -> None:
    scene.start(keep_releases=3)
    for version in (1, 2):
        scene.promote(version)
        assert scene.once() == "ok"
    for version in (3, 4):
        bad = scene.promote(version)
        assert scene.once() == "ok"
        scene.world.revert(bad)
        assert scene.once() == "ok"
    assert {1, 2} <= stored(scene)
    scene.world.shelf_open = False  # MLflow is down
    rollback(scene.world.repository, scene.model, "2 is bad, too")
    assert (scene.once(), scene.answer()) == ("ok", 1.0)


def test_a_pass_that_failed_removes_nothing(scene: Scene) -> None:
    scene.start(keep_releases=1)
    scene.promote(1)
    scene.once()
    scene.promote(2)
    scene.once()
    scene.promote(3)
    scene.world.shelf_open = False
    assert scene.once() == "unavailable"
    assert stored(scene) == {1, 2}
    scene.world.shelf_open = True
    assert scene.once() == "ok"
    assert stored(scene) == {2, 3}  # 2 is kept warm


def test_old_quarantine_is_removed_and_young_is_kept(scene: Scene) -> None:
    aside = scene.process.store.with_name("store.aside")
    old, young = aside / f"quarantine-{scene.model}-1-old", aside / f"quarantine-{scene.model}-1-young"
    for each in (old, young):
        each.mkdir(parents=True)
    os.utime(old, (0, 0))
    scene.promote(1)
    assert scene.once() == "ok"
    assert (old.exists(), young.exists()) == (False, True)
    young.rmdir()


def test_a_warm_version_is_given_up_when_memory_does_not_hold_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)
    scene.once()
    scene.promote(3)
    real = scene.triton.load

    def little_memory(model: str) -> None:
        config = scene.process.store / model / "config.pbtxt"
        text = config.read_text()
        if "versions: [ 1, 2, 3 ]" in text:  # Triton answers so when a version does not fit
            raise Unavailable("Triton", "out of memory")
        real(model)

    monkeypatch.setattr(scene.triton, "load", little_memory)
    assert scene.once() == "ok"
    assert scene.answer() == 3.0
    assert scene.ready() == {2, 3}
