"""Whose key counts when: expiry, revocation, the rollout bot. The signatures themselves are all good."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fixtures.releases import ENVIRONMENT, World, make_key, signer_line

from medtower.domain.contract import ROLES
from medtower.errors import ApprovalInvalid
from medtower.releases import approvals, dossier
from medtower.reports import render
from medtower.workflows.init_repo_text import TEMPLATE

Approved = tuple[World, Path]
Trust = Callable[..., Path]
IN_2029, IN_2031 = datetime(2029, 6, 1, tzinfo=UTC), datetime(2031, 6, 1, tzinfo=UTC)


@pytest.fixture
def trust(approved: Approved, tmp_path: Path) -> Trust:
    """Writes a trust root of the world's signers, with options for the clinical one, further lines, and revoked keys."""

    def write(options: str = "", more: str = "", revoked: str | None = None) -> Path:
        path = tmp_path / "allowed_signers"
        own = approved[0].trust_root.read_text()
        path.write_text(own.replace('"medtower-clinical"', f'"medtower-clinical"{options}') + more)
        if revoked is not None:
            (tmp_path / "revoked_keys").write_text(revoked)
        return path

    return write


def verify(approved: Approved, trust_root: Path, at: datetime | None = None) -> int:
    folder = approved[1] / "dossiers" / "1"
    return len(approvals.verify(folder, dossier.read(folder), trust_root, ENVIRONMENT, at=at))


def public(approved: Approved) -> str:
    return approved[0].keys["clinical"].with_suffix(".pub").read_text()


def test_every_role_says_what_its_signature_means_and_has_a_check_list() -> None:
    assert set(approvals.MEANING) == set(ROLES)
    page = (Path(render.__file__).parent / "templates" / "approval.md.j2").read_text()
    for role in ROLES:
        assert f'"{role}" in contract.approvals' in page
        assert f"### {role.capitalize()}" in TEMPLATE


def test_a_key_counts_until_it_expires(approved: Approved, trust: Trust) -> None:
    path = trust(',valid-before="20300101Z"')
    assert verify(approved, path, IN_2029) == 4
    with pytest.raises(
        ApprovalInvalid, match=r"the key of clinical@example\.org for role clinical is valid until 2030-01-01"
    ):
        verify(approved, path, IN_2031)


def test_a_key_counts_from_its_first_day_on(approved: Approved, trust: Trust) -> None:
    path = trust(',valid-after="20300101Z"')
    assert verify(approved, path, IN_2031) == 4
    with pytest.raises(
        ApprovalInvalid, match=r"clinical@example\.org for role clinical is valid from 2030-01-01"
    ):
        verify(approved, path, IN_2029)


def test_without_a_trusted_time_of_the_merge_it_is_now(approved: Approved, trust: Trust) -> None:
    """What the statement says of its own time is not asked: it was signed long after this key expired, or so it says."""
    with pytest.raises(ApprovalInvalid, match="is valid until 2001-01-01"):
        verify(approved, trust(',valid-before="20010101Z"'))
    assert verify(approved, trust(',valid-after="20010101Z"')) == 4


def test_one_of_several_lines_of_a_key_is_enough(approved: Approved, trust: Trust) -> None:
    more = signer_line("clinical@example.org", "clinical", approved[0].keys["clinical"])
    assert verify(approved, trust(',valid-before="20010101Z"', more)) == 4


def test_a_person_may_have_two_keys(approved: Approved, trust: Trust, tmp_path: Path) -> None:
    more = signer_line("clinical@example.org", "clinical", make_key(tmp_path, "second"))
    assert verify(approved, trust(more=more)) == 4


def test_a_revoked_key_never_counts_whatever_the_date(approved: Approved, trust: Trust) -> None:
    path = trust(',valid-before="20300101Z"', revoked=f"# lost in 2030\n{public(approved)}")
    for at in (None, IN_2029, datetime(2001, 1, 1, tzinfo=UTC)):
        with pytest.raises(ApprovalInvalid, match="the key SHA256:.* is in revoked_keys.*whatever its date"):
            verify(approved, path, at)
    assert verify(approved, trust(revoked="")) == 4


def test_a_key_of_the_rollout_bot_approves_nothing(approved: Approved, trust: Trust) -> None:
    shared = signer_line("bot@example.org", "rollout", approved[0].keys["clinical"])
    with pytest.raises(ApprovalInvalid, match="clinical approval.*a person must approve"):
        verify(approved, trust(more=shared))


def test_a_person_who_is_the_rollout_bot_approves_nothing(
    approved: Approved, trust: Trust, tmp_path: Path
) -> None:
    bot = signer_line("Clinical@example.org", "rollout", make_key(tmp_path, "bot"))
    with pytest.raises(ApprovalInvalid, match="clinical approval.*a person must approve"):
        verify(approved, trust(more=bot))
    stranger = signer_line("bot@example.org", "rollout", make_key(tmp_path, "other"))
    assert verify(approved, trust(more=stranger)) == 4


def test_a_signature_of_the_bot_is_no_approval(approved: Approved, trust: Trust, tmp_path: Path) -> None:
    """The bot signs the clinical statement as a bot that has no line for it."""
    folder = Path(shutil.copytree(approved[1], tmp_path / "sum_model")) / "dossiers" / "1"
    manifest, bot = dossier.read(folder), make_key(tmp_path, "bot")
    signed = approvals.statement(manifest, "clinical", "bot@example.org", ENVIRONMENT)
    content, signature = approvals.sign(signed, bot)
    (folder / "approvals" / "clinical.json").write_bytes(content)
    (folder / "approvals" / "clinical.sig").write_bytes(signature)
    path = trust(more=signer_line("bot@example.org", "rollout", bot))
    with pytest.raises(ApprovalInvalid, match="bot@example.org is not allowed to sign as clinical"):
        approvals.verify(folder, manifest, path, ENVIRONMENT)
