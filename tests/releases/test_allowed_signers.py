"""The trust root is read more strictly than ssh-keygen reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medtower.domain.contract import ROLES
from medtower.errors import NotFound, Refused, SignatureInvalid
from medtower.releases import allowed_signers, ssh_public_key, sshsig

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
FINGERPRINT = ssh_public_key.parse(KEY).fingerprint


def test_a_plain_line_names_person_role_and_key(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f'# reviewers\n\nclinical@example.org namespaces="medtower-clinical" {KEY} desk key\n')
    (signer,) = allowed_signers.read(path)
    assert (signer.person, signer.role, signer.key) == ("clinical@example.org", "clinical", KEY)


def test_the_rollout_bot_has_a_line_and_no_role_of_an_approval(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f'bot@example.org namespaces="medtower-rollout" {KEY}\n')
    (signer,) = allowed_signers.read(path)
    assert signer.role == "rollout"
    assert signer.role not in ROLES


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("20300102Z", datetime(2030, 1, 2, tzinfo=UTC)),
        ("203001020304Z", datetime(2030, 1, 2, 3, 4, tzinfo=UTC)),
        ("20300102030405Z", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_line_counts_from_and_until_its_times_and_at_both(
    tmp_path: Path, written: str, meant: datetime
) -> None:
    path, second = tmp_path / "allowed_signers", timedelta(seconds=1)
    path.write_text(
        f'a@example.org namespaces="medtower-final",valid-after="{written}" {KEY}\n'
        f'a@example.org namespaces="medtower-final",valid-before="{written}" {KEY}\n'
    )
    after, before = allowed_signers.read(path)
    assert (after.valid_after, before.valid_before) == (meant, meant)
    assert [after.why_not(meant + t * second) is None for t in (-1, 0, 1)] == [False, True, True]
    assert [before.why_not(meant + t * second) is None for t in (-1, 0, 1)] == [True, True, False]
    stamp = f"{meant:%Y-%m-%dT%H:%M:%SZ}"
    said = "the key of a@example.org for role final is valid"
    assert str(after.why_not(meant - second)).startswith(f"{said} from {stamp}")
    assert str(before.why_not(meant + second)).startswith(f"{said} until {stamp}")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            'valid-before="20300101"',
            "line 1 of allowed_signers: valid-before has no time zone; write 20300101Z",
        ),
        ('valid-after="203001010000"', "valid-after has no time zone; write 203001010000Z"),
        ('valid-before="20300231Z"', "20300231Z is no time of the calendar"),
        ('valid-before="203001Z"', "must read YYYYMMDDZ"),
        ('valid-before="2030-01-01"', "must read YYYYMMDDZ"),
        ('valid-before=""', "must read YYYYMMDDZ"),
        ('valid-before="20300101z"', "must read YYYYMMDDZ"),
        ('valid-before="٢٠٣٠٠١٠١Z"', "more than printable ASCII"),
        ('valid-before="20300101Z",valid-before="20310101Z"', "says valid-before twice"),
        ('valid-after="20300101Z",valid-before="20300101Z"', "valid-before is not later than valid-after"),
    ],
)
def test_a_time_that_two_machines_could_read_differently_is_refused(
    tmp_path: Path, options: str, why: str
) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f'a@example.org namespaces="medtower-final",{options} {KEY}\n')
    with pytest.raises(Refused, match=why):
        allowed_signers.read(path)


def test_a_key_that_is_none_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text('a@example.org namespaces="medtower-final" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\n')
    with pytest.raises(Refused, match="line 1 of allowed_signers holds no usable key"):
        allowed_signers.read(path)


def test_a_key_is_revoked_by_its_fingerprint_or_its_public_key(tmp_path: Path) -> None:
    trust, path = tmp_path / "allowed_signers", tmp_path / "revoked_keys"
    assert allowed_signers.revoked(trust) == frozenset()
    for line in (FINGERPRINT, f"{FINGERPRINT} lost", KEY, f"{KEY} lost laptop"):
        path.write_text(f"# lost\n\n{line}\n")
        assert allowed_signers.revoked(trust) == {FINGERPRINT}


@pytest.mark.parametrize(
    "line", ["SHA256:abc", "MD5:00", "clinical@example.org", KEY[:-4], "SHA256:" + "!" * 43]
)
def test_a_revocation_that_cannot_be_read_is_not_passed_over(tmp_path: Path, line: str) -> None:
    (tmp_path / "revoked_keys").write_text(f"{FINGERPRINT}\n{line}\n")
    with pytest.raises(Refused, match="line 2 of revoked_keys"):
        allowed_signers.revoked(tmp_path / "allowed_signers")


def test_a_list_of_revocations_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "revoked_keys").symlink_to(tmp_path / "gone")
    with pytest.raises(Refused, match="no plain file"):
        allowed_signers.revoked(tmp_path / "allowed_signers")


def test_what_is_trusted_has_another_name_after_every_change(tmp_path: Path) -> None:
    trust, names = tmp_path / "allowed_signers", set()
    names.add(allowed_signers.digest(trust))
    for name in ("allowed_signers", "revoked_keys"):
        for content in ("", "# x\n"):
            (tmp_path / name).write_text(content)
            names.add(allowed_signers.digest(trust))
    assert len(names) == 5


def test_a_signature_counts_for_the_bot_in_its_own_namespace_only(tmp_path: Path) -> None:
    sshsig.generate(tmp_path / "bot", "")
    trust, later = tmp_path / "allowed_signers", datetime(2031, 1, 1, tzinfo=UTC)
    key = (tmp_path / "bot.pub").read_text().strip()
    trust.write_text(f'bot@example.org namespaces="medtower-rollout",valid-before="20300101Z" {key}\n')
    good = sshsig.sign(b"traffic", tmp_path / "bot", allowed_signers.namespace("rollout"))
    allowed_signers.check_signed_by("rollout", b"traffic", good, trust)
    with pytest.raises(SignatureInvalid, match="is valid until 2030-01-01"):
        allowed_signers.check_signed_by("rollout", b"traffic", good, trust, at=later)
    with pytest.raises(SignatureInvalid, match="does not have its key for anybody as final"):
        allowed_signers.check_signed_by("final", b"traffic", good, trust)
    other = sshsig.sign(b"traffic", tmp_path / "bot", "medtower-final")
    with pytest.raises(SignatureInvalid, match="namespace medtower-final"):
        allowed_signers.check_signed_by("rollout", b"traffic", other, trust)
    (tmp_path / "revoked_keys").write_text(key)
    with pytest.raises(SignatureInvalid, match="is in revoked_keys"):
        allowed_signers.check_signed_by("rollout", b"traffic", good, trust)


@pytest.mark.parametrize(
    "line",
    [
        f'*@example.org namespaces="medtower-clinical" {KEY}',
        f'a@example.org,b@example.org namespaces="medtower-clinical" {KEY}',
        f"a@example.org {KEY}",
        f'a@example.org namespaces="medtower-*" {KEY}',
        f'a@example.org namespaces="medtower-clinical,medtower-final" {KEY}',
        f'a@example.org namespaces="medtower-owner" {KEY}',
        f'a@example.org namespaces="medtower-final",valid-before=20300101Z {KEY}',
        f'a@example.org namespaces="medtower-final",verify-required {KEY}',
        f'a@example.org namespaces="medtower-final" {KEY.replace("ssh-ed25519", "ssh-dss")}',
        f'a@example.org cert-authority,namespaces="medtower-clinical" {KEY}',
        f'!a@example.org namespaces="medtower-clinical" {KEY}',
        f'a+second@example.org namespaces="medtower-clinical" {KEY}',
        f'reviewer namespaces="medtower-clinical" {KEY}',
        f' a@example.org namespaces="medtower-clinical" {KEY}',
    ],
)
def test_any_other_line_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(Refused, match="line 2 of allowed_signers (must read|names the role)"):
        allowed_signers.read(path)


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\v", "\f", "\r", "\x1e"])
def test_a_line_ends_where_git_and_openssh_see_its_end(tmp_path: Path, end: str) -> None:
    """Else a signer could hide behind a comment that everybody else reads as one line."""
    path, hidden = tmp_path / "allowed_signers", f'b@example.org namespaces="medtower-final" {KEY}'
    path.write_text(f'a@example.org namespaces="medtower-clinical" {KEY} laptop{end}{hidden}\n', newline="")
    with pytest.raises(Refused, match="line 1 of allowed_signers holds more than printable ASCII"):
        allowed_signers.read(path)
    path.with_name("revoked_keys").write_text(f"# lost{end}{KEY}\n", newline="")
    with pytest.raises(Refused, match="line 1 of revoked_keys holds more than printable ASCII"):
        allowed_signers.revoked(path)


def test_no_trust_root_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="trust root"):
        allowed_signers.read(tmp_path / "nowhere")


def test_a_role_may_have_a_name_of_several_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f'a@example.org namespaces="medtower-data_protection" {KEY}\n')
    with pytest.raises(
        Refused, match="line 1 of allowed_signers names the role 'data_protection'; there are tech"
    ):
        allowed_signers.read(path)
    monkeypatch.setattr(allowed_signers, "SIGNER_ROLES", (*allowed_signers.SIGNER_ROLES, "data_protection"))
    (signer,) = allowed_signers.read(path)
    assert signer.role == "data_protection"
