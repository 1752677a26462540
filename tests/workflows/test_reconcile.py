"""The reconciler on real git, real keys and a real Triton: releases that serve everybody at once."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import onnx
import pytest
from prometheus_client import generate_latest
from tests.fixtures.onnx_models import linear
from tests.fixtures.reconciler import Scene
from tests.fixtures.releases import World

from medtower.adapters.git import Repository
from medtower.domain.release import Manifest, Release
from medtower.errors import Conflict, Unavailable
from medtower.local.health import poll
from medtower.releases import dossier
from medtower.serving import routing
from medtower.workflows import model_tree
from medtower.workflows.reconcile.desired import Desired, DesiredState
from medtower.workflows.rollback import rollback


def test_nothing_is_routed_before_the_first_promotion(scene: Scene) -> None:
    assert scene.once() == "ok"
    route = routing.read(scene.routing).routes[scene.model]
    assert (route.arms, route.reason) == ([], "not released yet")
    assert scene.metric("medtower_served_version", model=scene.model) == 0


def test_a_promotion_is_fetched_loaded_tried_and_routed(scene: Scene) -> None:
    commit = scene.promote(1)
    assert scene.once() == "ok"
    assert scene.answer() == 1.0
    table = routing.read(scene.routing)
    assert table.commit == commit
    manifest_digest = dossier.digest(_manifest(scene, 1))
    assert [(a.version, a.digest, a.weight) for a in table.routes[scene.model].arms] == [
        (1, manifest_digest, 100)
    ]
    assert [str(e).split(" ", 2)[2] for e in scene.events] == [f"reconciler serves {scene.model} 1"]
    assert scene.metric("medtower_served_version", model=scene.model) == 1
    assert scene.metric("medtower_desired_version", model=scene.model) == 1
    assert (scene.metric("medtower_model_load_seconds", model=scene.model, version="1") or 0) > 0
    assert (scene.metric("medtower_reconcile_last_success_timestamp_seconds") or 0) > 0


def _manifest(scene: Scene, version: int) -> Manifest:
    folder = scene.world.root / f"manifest-{version}"
    scene.world.repository.export(f"main:triton_models/{scene.model}/dossiers/{version}", folder)
    return dossier.read(folder)


def test_a_second_pass_changes_nothing_and_says_nothing(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    config = scene.process.store / scene.model / "config.pbtxt"
    before, fetched, told = config.stat().st_mtime_ns, scene.world.fetches, len(scene.events)
    assert scene.once() == "ok"
    assert (config.stat().st_mtime_ns, scene.world.fetches, len(scene.events)) == (before, fetched, told)


def test_the_previous_version_stays_warm_and_older_ones_are_dropped(scene: Scene) -> None:
    for version in (1, 2, 3):
        scene.promote(version)
        assert scene.once() == "ok"
    assert scene.answer() == 3.0
    assert scene.ready() == {2, 3}


def test_a_revert_takes_the_old_version_back_and_no_request_fails(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    answers: list[float] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                answers.append(scene.answer())
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=client)
    thread.start()
    try:
        with scene.watching():
            bad = scene.promote(2)
            poll(lambda: bool(answers) and answers[-1] == 2.0, part="promotion", deadline=60)
            fetched = scene.world.fetches
            scene.world.shelf_open = False  # a rollback needs no MLflow
            scene.world.revert(bad)
            poll(lambda: answers[-1] == 1.0, part="revert", deadline=60)
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert set(answers) == {1.0, 2.0} and len(answers) > 50
    assert scene.world.fetches == fetched
    assert scene.ready() == {1, 2}


def test_one_changed_byte_in_the_store_is_refused_named_and_fetched_afresh(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    spoil(scene.process.store / scene.model / "1" / "model.onnx")
    assert scene.once() == "ok"
    assert "1/model.onnx has sha256" in scene.events[-1].details["reason"]
    assert scene.world.fetches == 2
    assert scene.answer() == 1.0


def spoil(path: Path) -> None:
    """Change one byte as someone with access to the disk could."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_changed_weights_that_cannot_be_fetched_again_leave_the_incumbent_in_memory(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    spoil(scene.process.store / scene.model / "1" / "model.onnx")
    scene.world.shelf_open = False
    assert scene.once() == "unavailable"
    assert scene.answer() == 1.0
    scene.world.shelf_open = True
    assert scene.once() == "ok"


def test_wrong_weights_on_the_shelf_never_reach_triton(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)
    linear(scene.world.shelf / scene.model / "2.onnx", 3, offset=666.0)
    assert scene.once() == "digest_mismatch"
    assert (scene.answer(), scene.ready()) == (1.0, {1})
    assert not (scene.process.store / scene.model / "2").exists()
    assert scene.metric("medtower_reconcile_failures_total", model=scene.model, reason="digest_mismatch") == 1
    assert scene.metric("medtower_desired_version", model=scene.model) == 2
    assert scene.metric("medtower_served_version", model=scene.model) == 1


def test_mlflow_down_keeps_the_incumbent_and_the_next_pass_catches_up(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)
    scene.world.shelf_open = False
    outcome = scene.reconciler.once().get(scene.model)
    assert (outcome.failure, outcome.served, outcome.desired) == ("unavailable", 1, 2)
    assert "MLflow is unavailable" in outcome.reason and "1 serves, 2 is desired" in str(outcome)
    assert scene.answer() == 1.0
    scene.world.shelf_open = True
    assert scene.once() == "ok"
    assert scene.answer() == 2.0


def test_an_unapproved_release_pushed_to_main_does_not_serve(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    path = f"triton_models/{scene.model}/release.yaml"
    text = (scene.world.repository.read("main", path) or b"").decode()
    scene.world.write(path, text.replace("first version", "another reason"))
    assert scene.once() == "refused"
    assert (scene.events[-1].action, scene.answer()) == ("refuses", 1.0)
    told = len(scene.events)
    scene.once()
    assert len(scene.events) == told  # said once, counted every time
    assert scene.metric("medtower_reconcile_failures_total", model=scene.model, reason="refused") == 2


def test_a_model_that_never_served_and_may_not_is_routed_nowhere_with_the_reason(scene: Scene) -> None:
    scene.promote(1)
    scene.world.trust_root.write_text("")
    assert scene.once() == "approval_invalid"
    route = routing.read(scene.routing).routes[scene.model]
    assert route.arms == [] and "not allowed to sign" in route.reason


def test_a_key_that_is_revoked_while_its_approval_serves_is_noticed(scene: Scene) -> None:
    scene.promote(1)
    assert scene.once() == "ok"
    key = scene.world.keys["final"].with_suffix(".pub").read_text()
    (scene.world.trust_root.parent / "revoked_keys").write_text(key)
    assert scene.once() == "approval_invalid"
    assert (scene.events[-1].action, scene.answer()) == (
        "refuses",
        1.0,
    )  # the incumbent stays until a person acts


def test_golden_answers_that_differ_keep_the_incumbent_and_drop_the_version(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)
    real = scene.triton.infer

    def other_hardware(model: str, version: int, rows: list[list[float | None]]) -> list[float]:
        return [value + (0.5 if version == 2 else 0) for value in real(model, version, rows)]

    monkeypatch.setattr(scene.triton, "infer", other_hardware)
    assert scene.once() == "model_misbehaved"
    assert (scene.routed(), scene.ready()) == (1, {1})
    # held back: the next pass does not load it again
    config = scene.process.store / scene.model / "config.pbtxt"
    before = config.stat().st_mtime_ns
    assert scene.once() == "model_misbehaved"
    assert config.stat().st_mtime_ns == before
    monkeypatch.undo()
    scene.start()
    assert scene.once() == "ok"
    assert scene.answer() == 2.0


def test_the_release_of_no_model_routes_nowhere_and_says_why(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    path = f"triton_models/{scene.model}/release.yaml"
    scene.world.write(path, f"model: {scene.model}\nversion: null\nreason: withdrawn by the owner\n")
    assert scene.once() == "ok"
    route = routing.read(scene.routing).routes[scene.model]
    assert (route.arms, route.reason) == ([], "withdrawn by the owner")


def test_a_model_gone_from_git_is_withdrawn(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    with scene.world.repository.checkout() as work:
        shutil.rmtree(work.folder / "triton_models" / scene.model)
        (work.folder / "triton_models" / "README.md").write_text("none\n")
        work.commit("Remove the model")
        work.push(expected=work.tip)
    scene.reconciler.once()
    assert scene.model not in routing.read(scene.routing).routes
    assert scene.ready() == set()


def test_another_number_of_inputs_is_refused_while_the_incumbent_serves(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.world.write(f"triton_models/{scene.model}/config.pbtxt", "name: 'x'\n")
    assert scene.once() == "digest_mismatch"
    assert scene.answer() == 1.0


def test_one_broken_model_does_not_stop_the_others(scene: Scene) -> None:
    scene.promote(1)
    scene.world.write("triton_models/broken_model/release.yaml", "version: [\n")
    report = scene.reconciler.once()
    assert report.get("broken_model").failure == "refused"
    assert report.get(scene.model).failure is None
    assert not report.ok


def test_no_folder_that_anyone_can_push_stops_the_other_models(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.promote(1)
    releases = {
        "bad_date": b"reason: 2026-13-45\n",
        "bad_surrogate": b'model: bad_surrogate\nreason: "\\ud800"\n',
        "bad_nesting": b"[" * 3000,
        "bad_integer": b"version: " + b"9" * 5000,
        "bad_tag": b"version: !!int x\n",
        "Bad-Name": b"x",
        "a:b": b"x",
        "two\nlines": b"x",
    }
    for name, content in releases.items():
        scene.world.write(f"triton_models/{name}/release.yaml", content)
    for name in (b"\xff", b"n" * 300):
        plant(scene, "bad_file_name", name)
    plant(scene, b"\xff", b"release.yaml")
    real = model_tree.release_at

    def surprise(repository: Repository, ref: str, model: str) -> Release:
        if model == "bad_surprise":
            raise IndexError("nobody foresaw")
        return real(repository, ref, model)

    monkeypatch.setattr(model_tree, "release_at", surprise)
    scene.world.write("triton_models/bad_surprise/cohort.yaml", b"x")
    report = scene.reconciler.once()
    failures = {o.model: o.failure for o in report.outcomes}
    assert failures.pop(scene.model) is None
    assert failures.pop("bad_file_name") is None  # nothing is released there, and nothing was read
    names = ("Bad-Name", "a:b", "two\\nlines", "\\udcff")
    assert {failures.pop(name) for name in names} == {"name_invalid"}
    assert set(failures) == {n for n in releases if n.startswith("bad")} | {"bad_surprise"}
    assert set(failures.values()) == {"refused"}
    assert scene.answer() == 1.0
    routes = routing.read(scene.routing).routes
    assert set(routes) == {scene.model, "bad_file_name", *failures}
    assert "IndexError" in routes["bad_surprise"].reason
    assert generate_latest(scene.registry)


def plant(scene: Scene, model: str | bytes, name: bytes) -> None:
    """Push a file that no work tree could hold, as raw git objects."""
    git = scene.world.repository.git
    blob = git("hash-object", "-w", "--stdin", stdin=b"x").strip()

    def tree(*lines: bytes) -> bytes:
        return git("mktree", "-z", stdin=b"\0".join(lines) + b"\0").strip()

    def below(path: str, name: bytes) -> list[bytes]:
        lines = git("ls-tree", "-z", path).split(b"\0")
        return [line for line in lines if line and not line.endswith(b"\t" + name)]

    model = os.fsencode(model)
    folder = tree(b"100644 blob " + blob + b"\t" + name)
    models = tree(*below("main:triton_models", model), b"040000 tree " + folder + b"\t" + model)
    root = tree(*below("main", b"triton_models"), b"040000 tree " + models + b"\ttriton_models")
    commit = git("commit-tree", "-m", "x", "-p", "main", root.decode()).decode().strip()
    git("update-ref", "refs/heads/main", commit)


def test_a_dossier_that_asks_for_fewer_roles_than_the_tower_does_not_serve(scene: Scene) -> None:
    scene.world.roles = ("technical",)
    scene.promote(1)
    outcome = scene.reconciler.once().get(scene.model)
    assert (outcome.failure, outcome.served) == ("refused", None)
    assert "approval of final, without which nothing serves" in outcome.reason


def test_weights_that_break_the_rules_for_onnx_files_are_not_loaded(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.promote(1)
    scene.once()
    path = scene.world.weights(scene.model, 2)
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("org.example.evil", 1))
    path.write_bytes(model.SerializeToString())
    with monkeypatch.context() as patch:  # somebody who does not propose with our own tool
        patch.setattr("medtower.workflows.propose.onnx_policy.inspect", lambda _: None)
        scene.promote(2)
    assert scene.once() == "refused"
    assert "org.example.evil" in scene.events[-1].details["reason"]
    assert (scene.answer(), scene.ready()) == (1.0, {1})
    assert not (scene.process.store / scene.model / "2").exists()


def test_a_pass_that_fails_in_a_way_nobody_foresaw_does_not_end_the_watch(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.promote(1)
    real, failures = DesiredState.at, []

    def surprise(state: DesiredState, commit: str) -> list[Desired]:
        if not failures:
            failures.append(commit)
            raise IndexError("nobody foresaw")
        return real(state, commit)

    monkeypatch.setattr(DesiredState, "at", surprise)
    monkeypatch.setattr("medtower.workflows.reconcile.reconciler.PASS_SECONDS", 0.1)
    with scene.watching():
        poll(
            lambda: scene.metric("medtower_served_version", model=scene.model) == 1,
            part="reconciler",
            deadline=60,
        )
    assert scene.metric("medtower_reconcile_failures_total", model="all", reason="index_error") == 1


def test_a_killed_and_restarted_triton_is_loaded_again(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)
    with scene.watching():
        poll(lambda: scene.routed() == 2, part="promotion", deadline=60)
        scene.process.kill()
        scene.process.start()
        poll(lambda: scene.ready() == {1, 2}, part="recovery", deadline=60)
    assert scene.answer() == 2.0


def test_a_restarted_triton_gets_the_incumbent_back_while_git_asks_for_what_may_not_serve(
    scene: Scene,
) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)
    linear(scene.world.shelf / scene.model / "2.onnx", 3, offset=666.0)
    scene.process.kill()
    scene.process.start()
    assert scene.once() == "digest_mismatch"
    assert scene.answer() == 1.0


def test_triton_down_is_named_and_the_routes_stay(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.process.kill()
    try:
        assert scene.once() == "unavailable"
        assert scene.routed() == 1
    finally:
        scene.process.start()
    assert scene.once() == "ok"


def test_a_lost_memory_costs_only_the_warm_version(scene: Scene) -> None:
    for version in (1, 2):
        scene.promote(version)
        scene.once()
    (scene.process.store.parent / "store.memory.json").unlink()
    rollback(scene.world.repository, scene.model, "bad")
    scene.start()
    assert scene.once() == "ok"
    assert scene.answer() == 1.0
    assert scene.once() == "ok"
    assert scene.ready() == {1}


def test_two_reconcilers_of_one_store_exclude_each_other(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    second, refused = scene.reconciler, []
    scene.promote(2)

    def fetch_while_another_starts(manifest: Manifest, destination: Path) -> None:
        with pytest.raises(Conflict, match="another reconciler") as caught:
            second.once()
        refused.append(caught.value)
        World.fetch(scene.world, manifest, destination)

    scene.world.fetch = fetch_while_another_starts  # type: ignore[method-assign]
    scene.start()
    assert scene.once() == "ok"
    assert len(refused) == 1


def test_a_repository_without_main_is_said(scene: Scene) -> None:
    scene.world.repository.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(Unavailable, match="no main branch"):
        scene.once()


def test_a_golden_file_that_is_no_golden_file_stops_its_own_model_only(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.world.write(f"triton_models/{scene.model}/dossiers/1/golden.json", "[]")
    scene.world.write(
        "triton_models/other_model/release.yaml", "model: other_model\nversion: null\nreason: none\n"
    )
    report = scene.reconciler.once()
    assert report.get(scene.model).failure is not None
    assert report.get("other_model").failure is None
    assert scene.routed() == 1


def test_an_unforeseen_error_in_one_model_is_named_and_the_incumbent_stays(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)

    def surprise(*_: object) -> None:
        raise KeyError("unforeseen")

    scene.world.fetch = surprise  # type: ignore[method-assign]
    scene.start()
    assert scene.once() == "model_misbehaved"
    assert scene.routed() == 1
