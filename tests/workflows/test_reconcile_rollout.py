"""The reconciler follows a rollout step by step: shadow, arms, everybody, and back by one revert. Real git, keys and Triton."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from tests.fixtures.onnx_models import linear
from tests.fixtures.reconciler import ROW, Scene
from tests.fixtures.releases import make_key, signer_line

from medtower.domain.rollout import Plan
from medtower.domain.routing import parse_shares
from medtower.local.health import poll

GRADUAL = Plan(strategy="gradual", steps=[5, 50, 100], hold_hours=1)
STAGED = Plan(strategy="staged", steps=[5, 100], hold_hours=1, shadow_hours=1)


@pytest.fixture
def rolling(scene: Scene) -> Scene:
    """Version 1 serves, version 2 is promoted gradually."""
    scene.promote(1)
    scene.once()
    scene.promote(2, GRADUAL)
    return scene


def test_a_gradual_release_takes_over_step_by_step(rolling: Scene) -> None:
    seen = []
    for _ in range(3):
        assert rolling.once() == "ok"
        assert rolling.ready() == {1, 2}
        seen.append((rolling.arms(), rolling.metric("medtower_rollout_stage", model=rolling.model)))
        if len(seen) < 3:
            rolling.advance()
    assert seen == [
        ("current:1@95,candidate:2@5", 0),
        ("current:1@50,candidate:2@50", 1),
        ("current:2@100", 2),
    ]


def test_what_an_arm_is_to_get_is_a_metric_and_version_and_shares_are_told(rolling: Scene) -> None:
    rolling.once()
    weight = {"model": rolling.model, "version": "1", "arm": "current"}
    assert rolling.metric("medtower_arm_weight", **weight) == 95
    assert rolling.metric("medtower_arm_weight", **weight | {"version": "2", "arm": "candidate"}) == 5
    for name in ("desired", "served"):
        assert rolling.metric(f"medtower_{name}_version", model=rolling.model) == 2
    rolling.advance()
    rolling.once()
    assert rolling.metric("medtower_arm_weight", **weight) == 50


def test_every_change_of_arms_is_an_event_from_which_exposure_can_be_rebuilt(rolling: Scene) -> None:
    rolling.once()
    step = rolling.advance()
    rolling.once()
    rolling.once()
    told = [
        (e.action, e.details["arms"], e.details["instead_of"]) for e in rolling.events if "arms" in e.details
    ]
    assert told == [
        ("serves", "current:1@100", ""),
        ("serves", "current:1@95,candidate:2@5", "current:1@100"),
        ("routes", "current:1@50,candidate:2@50", "current:1@95,candidate:2@5"),
    ]
    last = rolling.events[-1]
    assert last.details["commit"] == step
    assert last.details["digest"] == rolling.route().arms[1].digest
    assert sum(s.weight for s in parse_shares(last.details["arms"])) == 100


def test_a_new_process_says_once_what_it_finds_published(rolling: Scene) -> None:
    rolling.once()
    rolling.events.clear()
    rolling.start()
    rolling.once()
    rolling.once()
    (event,) = [e for e in rolling.events if e.subject == f"{rolling.model} 2"]
    assert (event.action, event.details["arms"]) == ("routes", "current:1@95,candidate:2@5")


def test_a_staged_release_scores_in_the_shadow_first(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2, STAGED)
    assert scene.once() == "ok"
    assert scene.arms() == "current:1@100,shadow:2@0"
    assert scene.events[-1].details["arms"] == "current:1@100,shadow:2@0"
    assert scene.ready() == {1, 2}
    assert scene.metric("medtower_served_version", model=scene.model) == 2
    scene.advance()
    assert scene.once() == "ok"
    assert scene.arms() == "current:1@95,candidate:2@5"


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_revert_at_any_step_gives_everybody_the_old_version(scene: Scene, steps: int) -> None:
    scene.promote(1)
    scene.once()
    bad = scene.promote(2, GRADUAL)
    for _ in range(steps):
        scene.once()
        scene.advance()
    scene.once()
    scene.world.shelf_open = False
    scene.world.revert(bad)
    assert scene.once() == "ok"
    assert scene.arms() == "current:1@100"


def test_a_completed_rollout_is_complete_at_once_after_the_next_is_taken_back(rolling: Scene) -> None:
    rolling.once()
    for _ in range(2):
        rolling.advance()
        rolling.once()
    bad = rolling.promote(3, GRADUAL)
    rolling.once()
    assert rolling.arms() == "current:2@95,candidate:3@5"
    rolling.advance()
    rolling.once()
    rolling.world.revert(bad)
    assert rolling.once() == "ok"
    assert rolling.arms() == "current:2@100"


def test_a_traffic_file_of_another_hand_leaves_the_stage_and_the_other_models_as_they_are(
    rolling: Scene,
) -> None:
    rolling.once()
    rolling.advance()
    rolling.once()
    rolling.advance(key=make_key(rolling.world.root, "forger"))
    rolling.world.write("triton_models/other_model/release.yaml", "model: other_model\nreason: none\n")
    report = rolling.reconciler.once()
    outcome = report.get(rolling.model)
    assert (outcome.failure, outcome.served, outcome.stage) == ("signature_invalid", 2, 1)
    assert report.get("other_model").failure is None
    assert rolling.arms() == "current:1@50,candidate:2@50"
    refused = [e.subject for e in rolling.events if e.details.get("failure") == "signature_invalid"]
    assert refused == [f"{rolling.model} 2"]
    labels = {"model": rolling.model, "reason": "signature_invalid"}
    assert rolling.metric("medtower_reconcile_failures_total", **labels) == 1
    rolling.start()  # remembered
    assert rolling.once() == "signature_invalid"
    assert rolling.arms() == "current:1@50,candidate:2@50"


def test_traffic_that_cannot_be_read_before_any_step_is_the_first_stage(rolling: Scene) -> None:
    rolling.world.write(f"triton_models/{rolling.model}/traffic.yaml", "step: [\n")
    assert rolling.once() == "refused"
    assert rolling.arms() == "current:1@95,candidate:2@5"


def test_a_step_s_signature_of_a_key_that_expired_since_still_counts(rolling: Scene) -> None:
    rolling.advance()
    rolling.once()
    expire(rolling, "rollout")
    rolling.start()
    assert rolling.once() == "ok"
    assert rolling.arms() == "current:1@50,candidate:2@50"


def expire(scene: Scene, *roles: str) -> None:
    """From now on every key of the roles is no longer valid; it was until this second."""
    last = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    keys = {**scene.world.keys, "rollout": scene.world.bot}
    lines = []
    for role, key in keys.items():
        line = signer_line(scene.world.person(role), role, key)
        lines.append(
            line.replace('" ssh', f'",valid-before="{last:%Y%m%d%H%M%SZ}" ssh') if role in roles else line
        )
    scene.world.trust_root.write_text("".join(lines))
    poll(lambda: datetime.now(UTC) > last, part="the clock", deadline=5)


def test_the_incumbent_is_verified_from_the_tree_when_nothing_is_remembered(rolling: Scene) -> None:
    rolling.once()
    forget(rolling)
    rolling.start()
    assert rolling.once() == "ok"
    assert rolling.arms() == "current:1@95,candidate:2@5"


def forget(scene: Scene) -> None:
    (scene.process.store.parent / "store.memory.json").unlink()


def test_an_incumbent_that_cannot_be_had_keeps_what_served(rolling: Scene) -> None:
    with rolling.world.repository.checkout() as work:
        shutil.rmtree(work.folder / "triton_models" / rolling.model / "dossiers" / "1")
        work.commit("Remove the evidence")
        work.push(expected=work.tip)
    forget(rolling)
    rolling.start()
    assert rolling.once() == "refused"
    assert "version 1" in rolling.events[-1].details["reason"]
    assert rolling.arms() == "current:1@100"


def test_a_candidate_that_fails_its_golden_test_gets_nobody(
    rolling: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rolling.triton.infer

    def other_hardware(model: str, version: int, rows: list[list[float | None]]) -> list[float]:
        return [value + (0.5 if version == 2 else 0) for value in real(model, version, rows)]

    monkeypatch.setattr(rolling.triton, "infer", other_hardware)
    assert rolling.once() == "model_misbehaved"
    assert (rolling.arms(), rolling.ready()) == ("current:1@100", {1})


def test_an_incumbent_that_fails_its_golden_test_stops_the_step(
    rolling: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolling.once()
    rolling.advance()
    real = rolling.triton.infer
    monkeypatch.setattr(
        rolling.triton, "infer", lambda m, v, rows: [a + (0.5 if v == 1 else 0) for a in real(m, v, rows)]
    )
    assert rolling.once() == "model_misbehaved"
    assert rolling.arms() == "current:1@95,candidate:2@5"


def test_both_arms_come_back_after_triton_was_killed(rolling: Scene) -> None:
    rolling.once()
    rolling.process.kill()
    rolling.process.start()
    assert rolling.once() == "ok"
    assert rolling.ready() == {1, 2}
    assert [rolling.triton.infer(rolling.model, v, [ROW])[0] for v in (1, 2)] == [7.0, 8.0]


def test_the_same_number_with_other_weights_never_serves(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    bad = scene.promote(2)
    scene.once()
    scene.world.revert(bad)
    scene.once()
    linear(scene.world.shelf / scene.model / "2.onnx", 3, offset=22.0)
    scene.promote(2)
    outcome = scene.reconciler.once().get(scene.model)
    assert (outcome.failure, outcome.served) == ("refused", 1)
    assert "2 was released with other weights" in outcome.reason
    assert scene.answer() == 1.0
