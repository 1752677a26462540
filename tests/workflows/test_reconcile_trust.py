"""Whose signatures count at deploy time: the installed trust root, its copy in git, expired and revoked keys."""

from __future__ import annotations

import pytest
from tests.fixtures.reconciler import Scene
from tests.fixtures.releases import make_key, signer_line
from tests.workflows.test_reconcile_rollout import GRADUAL, expire, forget

COPY = "trust/allowed_signers"


def test_a_copy_in_git_that_is_the_installed_one_changes_nothing(scene: Scene) -> None:
    scene.world.write(COPY, scene.world.trust_root.read_text())
    scene.promote(1)
    assert scene.once() == "ok"
    assert scene.answer() == 1.0


@pytest.fixture
def disputed(scene: Scene) -> Scene:
    """Versions 1 and 2 served; then somebody puts another copy on main."""
    scene.promote(1)
    scene.once()
    scene.bad = scene.promote(2)  # type: ignore[attr-defined]
    scene.once()
    stranger = signer_line("stranger@example.org", "final", make_key(scene.world.root, "stranger"))
    scene.world.write(COPY, scene.world.trust_root.read_text() + stranger)
    return scene


def test_while_the_trust_roots_differ_what_serves_goes_on_and_it_is_said_once(disputed: Scene) -> None:
    assert disputed.once() == "ok"
    disputed.once()
    said = [e for e in disputed.events if e.action == "refuses the trust root"]
    assert len(said) == 1
    assert "is not trust/allowed_signers of main" in said[0].details["reason"]
    assert disputed.metric("medtower_reconcile_failures_total", model="all", reason="trust_root") == 2


def test_while_the_trust_roots_differ_nothing_new_serves(disputed: Scene) -> None:
    disputed.promote(3)
    outcome = disputed.reconciler.once().get(disputed.model)
    assert (outcome.failure, outcome.served) == ("refused", 2)
    assert "nothing new does" in outcome.reason
    disputed.world.trust_root.write_text((disputed.world.repository.read("main", COPY) or b"").decode())
    assert disputed.once() == "ok"
    assert disputed.answer() == 3.0


@pytest.mark.parametrize("installed", ["as it was", "without anybody"])
def test_while_the_trust_roots_differ_a_rollback_goes_on(disputed: Scene, installed: str) -> None:
    if installed == "without anybody":
        disputed.world.trust_root.write_text("")
    disputed.start()
    disputed.world.revert(disputed.bad)  # type: ignore[attr-defined]
    assert disputed.once() == "ok"
    assert disputed.answer() == 1.0


def test_while_the_trust_roots_differ_a_revoked_key_still_does_not_count(disputed: Scene) -> None:
    disputed.world.trust_root.write_text("")
    key = disputed.world.keys["final"].with_suffix(".pub").read_text()
    (disputed.world.trust_root.parent / "revoked_keys").write_text(key)
    disputed.world.revert(disputed.bad)  # type: ignore[attr-defined]
    assert disputed.once() == "approval_invalid"
    assert disputed.answer() == 2.0


def test_without_a_dispute_a_person_who_was_taken_out_no_longer_counts(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    bad = scene.promote(2)
    scene.once()
    scene.world.trust_root.write_text("")
    scene.start()
    scene.world.revert(bad)
    assert scene.once() == "approval_invalid"
    assert scene.answer() == 2.0


def test_a_rollback_to_what_was_signed_by_keys_that_expired_since_goes_on(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    bad = scene.promote(2)
    scene.once()
    expire(scene, *scene.world.roles)
    scene.start()
    scene.world.revert(bad)
    assert scene.once() == "ok"
    assert scene.answer() == 1.0


def test_a_new_release_signed_by_expired_keys_is_refused(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2)
    expire(scene, *scene.world.roles)
    assert scene.once() == "approval_invalid"
    assert scene.answer() == 1.0


def test_an_incumbent_that_nobody_remembers_and_whose_keys_expired_is_not_had(scene: Scene) -> None:
    scene.promote(1)
    scene.once()
    scene.promote(2, GRADUAL)
    scene.once()
    expire(scene, *scene.world.roles)
    forget(scene)
    scene.start()
    assert scene.once() == "approval_invalid"
    assert scene.arms() == "current:1@95,candidate:2@5"  # what served keeps serving
