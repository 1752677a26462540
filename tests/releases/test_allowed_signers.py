"""The trust root is read more strictly than ssh-keygen reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtower.errors import NotFound, Refused
from medtower.releases import allowed_signers

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampleExam"


def test_a_plain_line_names_person_role_and_key(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f'# reviewers\n\nclinical@example.org namespaces="medtower-clinical" {KEY} desk key\n')
    (signer,) = allowed_signers.read(path)
    assert (signer.person, signer.role, signer.key) == ("clinical@example.org", "clinical", KEY)


def test_a_line_may_say_until_when_it_counts(tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    path.write_text(f'a@example.org namespaces="medtower-final",valid-before="20300101" {KEY}\n')
    assert allowed_signers.read(path)[0].role == "final"


@pytest.mark.parametrize(
    "line",
    [
        f'*@example.org namespaces="medtower-clinical" {KEY}',
        f'a@example.org,b@example.org namespaces="medtower-clinical" {KEY}',
        f"a@example.org {KEY}",
        f'a@example.org namespaces="medtower-*" {KEY}',
        f'a@example.org namespaces="medtower-clinical,medtower-final" {KEY}',
        f'a@example.org namespaces="medtower-owner" {KEY}',
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
    with pytest.raises(Refused, match="line 2 of allowed_signers must read"):
        allowed_signers.read(path)


def test_no_trust_root_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="trust root"):
        allowed_signers.read(tmp_path / "nowhere")
