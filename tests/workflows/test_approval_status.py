"""What is missing and from whom, on real repositories with real keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fixtures.releases import ENVIRONMENT, World, make_key, signer_line

from medtower.domain.rollout import Plan
from medtower.errors import NotFound
from medtower.releases import sshsig
from medtower.workflows import approval_status, rollout_status
from medtower.workflows.approval_status import ProposalStatus

STAGED = Plan(strategy="staged", steps=[5, 50, 100], hold_hours=1, shadow_hours=1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, "als_risk", "other_risk")


def only(world: World, **options: object) -> ProposalStatus:
    (found,) = approval_status.proposals(world.repository, world.trust_root, ENVIRONMENT, **options)  # type: ignore[arg-type]
    return found


def states(status: ProposalStatus) -> dict[str, str]:
    return {r.role: r.state for r in status.roles}


def test_a_new_proposal_lacks_every_role_and_names_who_may_sign(world: World) -> None:
    world.propose("als_risk", 1)
    status = only(world)
    assert set(states(status).values()) == {"missing"}
    assert [tuple(r.may_sign) for r in status.roles] == [(f"{r.role}@example.org",) for r in status.roles]
    assert "clinical    missing; clinical@example.org may sign" in str(status)
    assert "as the first version, immediate" in str(status)


def test_a_signature_is_told_with_its_person(world: World) -> None:
    world.propose("als_risk", 1)
    world.approve("als_risk", 1, "clinical")
    status = only(world)
    assert states(status)["clinical"] == "signed"
    assert "clinical    signed: clinical@example.org, " in str(status)
    assert not status.complete


def test_a_complete_proposal_says_how_to_merge_it(world: World) -> None:
    world.propose("als_risk", 1)
    world.approve("als_risk", 1)
    status = only(world)
    assert status.complete
    assert "run: medtower merge als_risk 1" in str(status)


def test_an_approval_of_another_environment_does_not_count_and_the_rule_is_named(world: World) -> None:
    world.propose("als_risk", 1)
    world.approve("als_risk", 1, "final")
    (status,) = approval_status.proposals(world.repository, world.trust_root, "elsewhere")
    final = next(r for r in status.roles if r.role == "final")
    assert (final.state, final.may_sign) == ("does not count", ["final@example.org"])
    assert "another environment" in final.said


def test_an_expired_key_makes_its_approval_not_count_and_nobody_may_sign(world: World) -> None:
    world.propose("als_risk", 1)
    world.approve("als_risk", 1, "technical")
    lines = world.trust_root.read_text().replace(
        '"medtower-technical"', '"medtower-technical",valid-before="20300101Z"'
    )
    world.trust_root.write_text(lines)
    assert states(only(world, at=datetime(2029, 12, 31, tzinfo=UTC)))["technical"] == "signed"
    status = only(world, at=datetime(2030, 1, 2, tzinfo=UTC))
    technical = status.roles[0]
    assert technical.state == "does not count"
    assert "valid until 2030-01-01" in technical.said
    assert "nobody in the trust root may sign" in str(technical)


def test_who_signed_in_one_role_may_not_sign_in_another_and_the_bot_never(world: World) -> None:
    both = signer_line("clinical@example.org", "final", world.keys["clinical"])
    bot = signer_line("rollout@example.org", "final", make_key(world.root, "of-the-bot"))
    world.trust_root.write_text(world.trust_root.read_text() + both + bot)
    world.propose("als_risk", 1)
    assert list(only(world).roles[-1].may_sign) == ["clinical@example.org", "final@example.org"]
    world.approve("als_risk", 1, "clinical")
    assert list(only(world).roles[-1].may_sign) == ["final@example.org"]


def test_one_person_in_two_roles_is_told_where_it_does_not_count(world: World) -> None:
    lines = world.trust_root.read_text().splitlines(keepends=True)
    same = signer_line("technical@example.org", "clinical", world.keys["clinical"])
    world.trust_root.write_text("".join(x for x in lines if "medtower-clinical" not in x) + same)
    world.propose("als_risk", 1)
    world.approve("als_risk", 1, "technical")
    place = "triton_models/als_risk/dossiers/1/approvals"
    with world.repository.checkout("promote/als_risk-1") as work:
        content = (
            (work.folder / place / "technical.json")
            .read_bytes()
            .replace(b'"role": "technical"', b'"role": "clinical"')
        )
        (work.folder / place / "clinical.json").write_bytes(content)
        (work.folder / place / "clinical.sig").write_bytes(
            sshsig.sign(content, world.keys["clinical"], "medtower-clinical")
        )
        work.commit("Approve once more")
        work.push(expected=work.tip)
    found = {r.role: r for r in only(world).roles}
    assert found["technical"].state == "signed"
    assert "already approved as technical" in found["clinical"].said


def test_a_proposal_whose_base_moved_says_to_propose_again(world: World) -> None:
    world.propose("als_risk", 2)
    world.promote("als_risk", 1)
    status = only(world)
    assert "run: medtower propose als_risk 2" in status.problem
    assert not status.complete


def test_a_broken_proposal_is_told_and_hides_no_other(world: World) -> None:
    world.propose("als_risk", 1)
    world.propose("other_risk", 1)
    with world.repository.checkout("promote/als_risk-1") as work:
        (work.folder / "triton_models/als_risk/dossiers/1/model_card.md").write_text("another card")
        work.commit("Edit the card")
        work.push(expected=work.tip)
    with world.repository.checkout() as work:
        work.git("commit", "-q", "--allow-empty", "-m", "nothing")
        work.push("promote/other_risk-7", expected=None)
    told = approval_status.proposals(world.repository, world.trust_root, ENVIRONMENT)
    assert [(p.model, p.version) for p in told] == [("als_risk", 1), ("other_risk", 1), ("other_risk", 7)]
    assert "model_card.md has sha256" in told[0].problem
    assert told[1].problem == ""
    assert "manifest.json not found" in told[2].problem


def test_a_model_and_a_version_may_be_named(world: World) -> None:
    world.propose("als_risk", 1)
    world.propose("other_risk", 1)
    assert only(world, model="other_risk").model == "other_risk"
    with pytest.raises(NotFound, match="proposal of als_risk 9"):
        only(world, model="als_risk", version=9)


def test_without_an_installed_trust_root_the_repository_s_copy_tells_who_may_sign(
    world: World, tmp_path: Path
) -> None:
    world.write("trust/allowed_signers", world.trust_root.read_bytes())
    world.propose("als_risk", 1)
    nowhere = tmp_path / "not-installed" / "allowed_signers"
    (status,) = approval_status.proposals(world.repository, nowhere, ENVIRONMENT)
    assert list(status.roles[0].may_sign) == ["technical@example.org"]


def test_without_any_trust_root_the_proposal_is_still_told(world: World, tmp_path: Path) -> None:
    world.propose("als_risk", 1)
    (status,) = approval_status.proposals(world.repository, tmp_path / "nothing", ENVIRONMENT)
    assert "trust root" in status.problem
    assert status.digest


def test_the_stage_of_a_rollout_is_told_at_every_step(world: World) -> None:
    def told() -> str:
        return str(rollout_status.releases(world.repository, world.trust_root, model="als_risk")[0])

    assert told() == "als_risk: no model is released, not released yet"
    world.promote("als_risk", 1)
    assert told() == "als_risk: version 1 is released, to everybody"
    world.promote("als_risk", 2, plan=STAGED)
    assert "in the shadow of version 1 (stage 1 of 4, staged; next 5 % → 50 % → 100 %)" in told()
    world.advance("als_risk")
    assert "to 5 % of patients (stage 2 of 4" in told()
    world.advance("als_risk")
    world.advance("als_risk")
    assert told() == "als_risk: version 2 is released, to everybody"


def test_traffic_that_the_bot_did_not_sign_is_a_problem_and_hides_no_model(world: World) -> None:
    world.promote("als_risk", 1)
    world.promote("als_risk", 2, plan=STAGED)
    world.advance("als_risk", key=world.keys["final"])
    first, second = rollout_status.releases(world.repository, world.trust_root)
    assert first.version == 2 and first.problem
    assert second.model == "other_risk" and not second.problem
