"""Propose, approve, merge, roll back on real git with real keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import pytest
from pydantic import ValidationError
from tests.fixtures.releases import ENVIRONMENT, PROMOTE, PROVENANCE, ROLES, World, contract

from medtower.adapters.git import Repository
from medtower.domain.contract import Role
from medtower.errors import (
    ApprovalInvalid,
    ApprovalMissing,
    Conflict,
    GateFailed,
    InvalidInput,
    NotFound,
    Refused,
)
from medtower.settings import Settings
from medtower.workflows import model_tree
from medtower.workflows.approve import approve, pending
from medtower.workflows.propose import propose
from medtower.workflows.rollback import rollback
from medtower.workflows.verify import verify

MODEL = "sum_model"
HOLD = b'[{"kind":"gate","name":"calibration","decision":"HOLD","reason":"too few"}]'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, MODEL, "other_model")


def released(repository: Repository, model: str = MODEL) -> int | None:
    return model_tree.release_at(repository, "main", model).version


def test_a_proposal_is_one_commit_on_its_own_branch_and_changes_nothing_on_main(world: World) -> None:
    head = world.repository.head()
    assert world.propose(MODEL, 1) == "promote/sum_model-1"
    assert world.repository.head() == head
    assert (
        world.repository.log("promote/sum_model-1", limit=1)[0].subject == "Evidence for sum_model 1 (1.0.0)"
    )
    assert pending(world.repository, MODEL, 1) == list(ROLES)


def test_proposing_the_same_evidence_twice_changes_nothing_and_keeps_approvals(world: World) -> None:
    world.propose(MODEL, 1)
    world.approve(MODEL, 1, "technical")
    tip = world.repository.head("promote/sum_model-1")
    world.propose(MODEL, 1, page=b"# Approval, written an hour later\n")
    assert world.repository.head("promote/sum_model-1") == tip
    with pytest.raises(Conflict, match="other evidence"):
        world.propose(MODEL, 1, reason="another reason")


def test_a_version_whose_gates_did_not_all_promote_is_not_proposed(world: World) -> None:
    with pytest.raises(GateFailed, match="sum_model 1 failed calibration"):
        world.propose(MODEL, 1, gates=HOLD)
    with pytest.raises(GateFailed, match="none was run"):
        world.propose(MODEL, 1, gates=b"[]")
    assert world.repository.branches() == ["main"]


def test_approving_shows_the_statement_before_the_key_is_used(world: World) -> None:
    world.propose(MODEL, 1)
    shown: list[str] = []

    def stop(text: str) -> None:
        shown.append(text)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        approve(
            world.repository,
            MODEL,
            1,
            "clinical",
            key=world.keys["clinical"],
            approver="clinical@example.org",
            environment=ENVIRONMENT,
            confirm=stop,
        )
    assert '"role": "clinical"' in shown[0] and '"environment": "test"' in shown[0]
    assert "clinical" in pending(world.repository, MODEL, 1)


def test_one_person_cannot_approve_in_two_roles(world: World) -> None:
    world.propose(MODEL, 1)
    world.approve(MODEL, 1, "technical")
    with pytest.raises(ApprovalInvalid, match="already approved as technical"):
        approve(
            world.repository,
            MODEL,
            1,
            "final",
            key=world.keys["final"],
            approver="Technical@example.org",
            environment=ENVIRONMENT,
        )


def test_approving_what_was_never_proposed_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="medtower propose sum_model 9"):
        world.approve(MODEL, 9, "technical")


def test_merging_names_the_roles_that_are_missing(world: World) -> None:
    world.propose(MODEL, 1)
    world.approve(MODEL, 1, "technical", "final")
    with pytest.raises(ApprovalMissing) as caught:
        world.merge(MODEL, 1)
    assert caught.value.roles == ["clinical", "compliance"]
    assert released(world.repository) is None


def test_a_promotion_is_one_commit_with_everything_and_the_branch_is_gone(
    world: World, tmp_path: Path
) -> None:
    commit = world.promote(MODEL, 1)
    assert world.repository.head() == commit
    assert [c.subject for c in world.repository.log()] == [
        "Promote sum_model to 1",
        "Start with the models of this tree",
    ]
    assert world.repository.branches() == ["main"]
    changed = world.repository.git("show", "--name-only", "--format=", commit).decode().split()
    assert {p.removeprefix("triton_models/sum_model/") for p in changed} >= {
        "release.yaml",
        "config.pbtxt",
        "dossiers/1/manifest.json",
        "dossiers/1/approvals/final.sig",
    }
    assert all(p.startswith("triton_models/sum_model/") for p in changed)
    world.repository.export(f"main:{model_tree.path(MODEL)}", tmp_path / "out" / MODEL)
    said = verify(tmp_path / "out" / MODEL, allowed_signers=world.trust_root, environment=ENVIRONMENT)
    assert said.startswith("sum_model 1 (1.0.0) may serve in test")
    assert world.merge(MODEL, 1) == commit


def test_merging_again_what_a_rollback_brought_back_names_its_promotion(world: World) -> None:
    first = world.promote(MODEL, 1)
    world.promote(MODEL, 2)
    rollback(world.repository, MODEL, "2 is bad")
    assert world.merge(MODEL, 1) == first


def test_an_approval_is_judged_as_of_the_moment_that_is_asked_about(world: World, tmp_path: Path) -> None:
    world.promote(MODEL, 1)
    folder = tmp_path / "out" / MODEL
    world.repository.export(f"main:{model_tree.path(MODEL)}", folder)
    roots = world.trust_root.read_text()
    world.trust_root.write_text(
        roots.replace('"medtower-final"', '"medtower-final",valid-before="20300101Z"')
    )
    known: dict[str, Any] = {"allowed_signers": world.trust_root, "environment": ENVIRONMENT}
    assert "may serve" in verify(folder, **known, at=datetime(2029, 1, 1, tzinfo=UTC))
    with pytest.raises(ApprovalInvalid, match="valid until 2030-01-01"):
        verify(folder, **known, at=datetime(2031, 1, 1, tzinfo=UTC))


def test_another_models_promotion_in_between_does_not_matter(world: World) -> None:
    world.propose(MODEL, 1)
    world.approve(MODEL, 1)
    world.promote("other_model", 1)
    world.merge(MODEL, 1)
    assert (released(world.repository), released(world.repository, "other_model")) == (1, 1)


def test_of_two_racing_promotions_the_second_must_be_approved_again(world: World) -> None:
    for version in (1, 2):
        world.propose(MODEL, version)
        world.approve(MODEL, version)
    world.merge(MODEL, 1)
    with pytest.raises(Refused, match="rule base: .*must be approved again"):
        world.merge(MODEL, 2)
    world.propose(MODEL, 2)
    assert pending(world.repository, MODEL, 2) == list(ROLES)
    world.approve(MODEL, 2)
    world.merge(MODEL, 2)
    assert released(world.repository) == 2


def test_a_used_number_is_not_proposed_again(world: World) -> None:
    world.promote(MODEL, 1)
    with pytest.raises(Conflict, match="never used twice"):
        world.propose(MODEL, 1)


def test_a_version_with_another_number_of_inputs_needs_a_new_name(world: World) -> None:
    world.promote(MODEL, 1)
    with pytest.raises(Refused, match="give the new contract a new name"):
        world.propose(MODEL, 2, inputs=4)


def test_nothing_else_travels_with_a_promotion(world: World) -> None:
    world.propose(MODEL, 1)
    world.approve(MODEL, 1)
    with world.repository.checkout("promote/sum_model-1") as work:
        (work.folder / "triton_models" / "other_model" / "release.yaml").write_text(
            "model: other_model\nreason: x\n"
        )
        work.commit("Something more")
        work.push(expected=work.tip)
    with pytest.raises(Refused, match=r"other_model/release\.yaml does not belong to the promotion"):
        world.merge(MODEL, 1)


def test_a_release_edited_on_the_branch_after_approval_is_not_merged(world: World) -> None:
    world.propose(MODEL, 1)
    world.approve(MODEL, 1)
    with world.repository.checkout("promote/sum_model-1") as work:
        path = work.folder / "triton_models" / MODEL / "release.yaml"
        path.write_text(path.read_text().replace("first version", "another reason"))
        work.commit("Edit")
        work.push(expected=work.tip)
    with pytest.raises(Refused, match="another reason than the signed manifest"):
        world.merge(MODEL, 1)


def test_a_contract_without_a_required_role_is_not_proposed(world: World) -> None:
    world.roles = ("technical", "final")
    world.propose(MODEL, 1)
    required = (*world.roles, "clinical")
    with pytest.raises(
        Refused, match=r"does not ask for the approval of clinical.*add it to `approvals:` in"
    ):
        propose_requiring(world, required)


def propose_requiring(world: World, required: tuple[Role, ...]) -> None:
    propose(
        world.repository,
        contract=contract(MODEL, roles=world.roles),
        version=2,
        weights=world.weights(MODEL, 2),
        evidence={"evaluation.json": b"{}", "gates.json": PROMOTE, "model.yaml": b""},
        pages={},
        provenance=PROVENANCE,
        required=required,
    )


def test_a_quorum_smaller_than_the_towers_is_not_merged(world: World) -> None:
    world.roles = ("technical", "final")
    world.propose(MODEL, 1)
    world.approve(MODEL, 1)
    world.roles = ROLES
    with pytest.raises(Refused, match="rule quorum"):
        world.merge(MODEL, 1)
    assert released(world.repository) is None


def test_the_roles_of_a_tower_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().approval_roles == ROLES
    monkeypatch.setenv("MEDTOWER_APPROVAL_ROLES", '["technical", "final"]')
    assert Settings().approval_roles == ("technical", "final")
    for wrong in ("[]", '["nobody"]'):
        monkeypatch.setenv("MEDTOWER_APPROVAL_ROLES", wrong)
        with pytest.raises(ValidationError):
            Settings()


def test_weights_that_break_the_rules_for_onnx_files_are_not_proposed(world: World) -> None:
    path = world.weights(MODEL, 1)
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("org.example.evil", 1))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Refused, match=r"rule onnx-domain.*org\.example\.evil"):
        world.propose(MODEL, 1)
    assert world.repository.branches() == ["main"]


def test_a_reason_that_no_release_can_carry_is_refused_before_anything_is_written(world: World) -> None:
    with pytest.raises(Refused, match=r"reason of the new version: .*one line of printable characters"):
        world.propose(MODEL, 1, reason="two\nlines")
    assert world.repository.branches() == ["main"]


def test_a_rollback_is_one_revert_that_keeps_the_previous_dossier(world: World) -> None:
    world.promote(MODEL, 1)
    bad = world.promote(MODEL, 2)
    world.promote("other_model", 1)
    done = rollback(world.repository, MODEL, "sensitivity\nis critical")
    assert (done.taken_back, done.to, done.reverted) == (2, 1, bad)
    assert (
        world.repository.log(limit=1)[0].subject == "Roll back sum_model from 2 to 1: sensitivity is critical"
    )
    dossiers = [e.path for e in world.repository.entries("main:triton_models/sum_model/dossiers")]
    assert dossiers == ["1"]
    assert released(world.repository, "other_model") == 1
    assert str(done).startswith("sum_model: version 2 is taken back, version 1 is released")


def test_a_second_rollback_takes_back_the_version_before(world: World) -> None:
    world.promote(MODEL, 1)
    world.promote(MODEL, 2)
    rollback(world.repository, MODEL, "bad")
    done = rollback(world.repository, MODEL, "bad too")
    assert (done.taken_back, done.to) == (1, None)
    with pytest.raises(NotFound, match="no version of it is released"):
        rollback(world.repository, MODEL, "nothing is left")


def test_a_rollback_is_the_same_tree_as_a_revert_by_hand(world: World) -> None:
    world.promote(MODEL, 1)
    before = world.repository.git("rev-parse", "main^{tree}")
    world.revert(world.promote(MODEL, 2))
    assert world.repository.git("rev-parse", "main^{tree}") == before
    world.promote(MODEL, 3)
    rollback(world.repository, MODEL, "bad")
    assert world.repository.git("rev-parse", "main^{tree}") == before


def test_a_rollback_needs_a_reason(world: World) -> None:
    world.promote(MODEL, 1)
    with pytest.raises(InvalidInput, match="in one line why"):
        rollback(world.repository, MODEL, " \n ")
