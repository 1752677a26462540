"""`medtower key` and `medtower exposure`: what they print, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medtower.cli import app
from medtower.errors import Conflict, InvalidInput
from medtower.releases import allowed_signers, sshsig


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("role", ["clinical", "rollout"])
def test_the_line_that_key_prints_trusts_what_the_key_signs(tmp_path: Path, role: str) -> None:
    key, trusted = tmp_path / "mine", tmp_path / "allowed_signers"
    code, line, _ = run("key", str(key), "--as", "clinical@example.org", "--role", role)
    assert code == 0
    assert key.stat().st_mode & 0o077 == 0
    trusted.write_text(line)
    (signer,) = allowed_signers.read(trusted)
    assert (signer.person, signer.role) == ("clinical@example.org", role)
    namespace = allowed_signers.namespace(signer.role)
    assert (
        sshsig.verify(b"text", sshsig.sign(b"text", key, namespace), namespace, signer.key)
        == signer.fingerprint
    )


@pytest.mark.parametrize(
    ("person", "role", "what"),
    [("clinical@example.org", "cook", "role: cook"), ("clinical+x@example.org", "final", "--as")],
)
def test_a_line_that_the_trust_root_would_refuse_is_not_made(
    tmp_path: Path, person: str, role: str, what: str
) -> None:
    code, _, err = run("key", str(tmp_path / "mine"), "--as", person, "--role", role)
    assert (code, what in err) == (InvalidInput.exit_code, True)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    arguments = ("key", str(tmp_path / "mine"), "--as", "final@example.org", "--role", "final")
    run(*arguments)
    before = (tmp_path / "mine").read_bytes()
    assert run(*arguments)[0] == Conflict.exit_code
    assert (tmp_path / "mine").read_bytes() == before


@pytest.mark.parametrize("moment", ["2026-11-21T10:00", "yesterday"])
def test_a_moment_without_its_time_zone_is_refused(moment: str) -> None:
    code, _, err = run("exposure", "als_risk", "--at", moment)
    assert (code, "time zone" in err) == (InvalidInput.exit_code, True)
