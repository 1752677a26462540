"""Keys given out and taken back: shown once, in the trail with who did it, and a revocation waits for nothing."""

from __future__ import annotations

import json
import os
import pwd
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.fixtures.postgres import Cluster

from medtower.adapters import api_keys
from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.audit import chain
from medtower.errors import Conflict, InvalidInput, NotFound, Unavailable
from medtower.settings import Settings
from medtower.workflows import access

ME = f"user:{pwd.getpwuid(os.getuid()).pw_name}"
NOBODY = "host=127.0.0.1 port=1 dbname=medtower user=nobody"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, dsn="")


def in_file(settings: Settings) -> str:
    path = settings.path("access")
    return path.read_text() if path.exists() else ""


def test_a_new_key_ends_and_its_secret_is_kept_nowhere(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    key, secret = access.new(settings, "ward-3", "clinician", models=["als_risk"], days=30)
    assert secret.startswith("mt_ward-3_")
    assert len(bytes.fromhex(secret.rsplit("_", 1)[1])) == 32
    assert key.expires is not None
    assert timedelta(days=29) < key.expires - datetime.now(UTC) <= timedelta(days=30)
    assert access.listed(settings) == (key,)
    assert secret not in in_file(settings)
    assert [(r.message, r.caller) for r in caplog.records] == [(f"{ME[5:]} creates an API key", "ward-3")]  # type: ignore[attr-defined]
    assert secret not in caplog.text


def test_an_id_is_given_out_once_also_after_its_key_was_revoked(settings: Settings) -> None:
    access.new(settings, "ward-3", "clinician", days=1)
    access.revoke(settings, "ward-3")
    with pytest.raises(Conflict, match="given out before"):
        access.new(settings, "ward-3", "admin", days=1)
    (key,) = access.listed(settings)
    assert (key.role, key.state(datetime.now(UTC))) == ("clinician", "revoked")


@pytest.mark.parametrize(
    "identity", ["", "x", "Ward", "ward_3", "3-ward", "ward 3", "wardé", "w" * 41, "a\nb"]
)
def test_an_id_that_is_none_is_refused_with_the_rule(settings: Settings, identity: str) -> None:
    with pytest.raises(InvalidInput, match="id: use 2 to 40 characters"):
        access.new(settings, identity, "admin", days=1)
    assert in_file(settings) == ""


def test_models_and_rates_that_are_none_are_refused_by_name(settings: Settings) -> None:
    with pytest.raises(InvalidInput, match="models: "):
        access.new(settings, "ward-3", "admin", models=["../x"], days=1)
    with pytest.raises(InvalidInput, match="rate: "):
        access.new(settings, "ward-3", "admin", rate=float("nan"), days=1)
    with pytest.raises(InvalidInput, match="burst: "):
        access.new(settings, "ward-3", "admin", burst=0, days=1)


def test_a_key_that_is_over_is_not_rotated_and_one_that_never_was_is_named(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    access.new(settings, "ward-3", "clinician", days=1)
    with pytest.raises(NotFound, match="medtower access list"):
        access.rotate(settings, "ward-4", grace=timedelta(hours=1))
    with pytest.raises(NotFound):
        access.revoke(settings, "ward-4")
    access.revoke(settings, "ward-3")
    before = in_file(settings)
    with pytest.raises(Conflict, match="is revoked"):
        access.rotate(settings, "ward-3", grace=timedelta(hours=1))
    assert in_file(settings) == before
    assert "rotates" not in caplog.text  # neither the log nor the trail says what did not happen


def test_every_change_is_in_the_trail_with_who_did_it_and_no_secret(
    settings: Settings, clean_postgres: Cluster
) -> None:
    dsn = clean_postgres.dsn("medtower_airflow")
    audited = Settings(home=settings.home, dsn=dsn)
    _, first = access.new(audited, "ward-3", "clinician", models=["als_risk"], days=30)
    _, second = access.rotate(audited, "ward-3", grace=timedelta(hours=24))
    access.revoke(audited, "ward-3")
    events = rows.read(Database(dsn))
    assert chain.verify(events) == 3
    assert [(e.event.actor, e.event.action, e.event.subject) for e in events] == [
        (ME, verb, "API key ward-3") for verb in ("creates", "rotates", "revokes")
    ]
    assert events[0].event.details["role"] == "clinician"
    assert events[1].event.details == {"grace_seconds": 86400}
    told = json.dumps([e.event.model_dump(mode="json") for e in events])
    for secret in (first, second):
        assert secret not in told
        assert api_keys.digest(secret) not in told


def test_no_key_is_made_or_rotated_that_the_trail_does_not_have(settings: Settings) -> None:
    access.new(settings, "ward-3", "clinician", days=1)
    before, down = in_file(settings), Settings(home=settings.home, dsn=NOBODY)
    with pytest.raises(Unavailable):
        access.new(down, "ward-4", "admin", days=1)
    with pytest.raises(Unavailable):
        access.rotate(down, "ward-3", grace=timedelta(0))
    assert in_file(settings) == before


def test_a_revocation_does_not_wait_for_the_database_and_says_so(settings: Settings) -> None:
    access.new(settings, "ward-3", "clinician", days=1)
    with pytest.raises(Unavailable, match="ward-3 is revoked, but that is not in the audit trail"):
        access.revoke(Settings(home=settings.home, dsn=NOBODY), "ward-3")
    assert access.listed(settings)[0].revoked is not None


def test_of_many_at_once_no_key_is_lost(settings: Settings) -> None:
    access.new(settings, "first", "admin", days=1)
    writers = [
        threading.Thread(target=access.new, args=(settings, f"w-{n}", "service"), kwargs={"days": 1})
        for n in range(20)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {key.id for key in access.listed(settings)} == {"first", *(f"w-{n}" for n in range(20))}


def test_a_broken_file_is_not_written_over(settings: Settings) -> None:
    settings.path("access").write_text("{")
    settings.path("access").chmod(0o600)
    with pytest.raises(InvalidInput, match="is not a file of API keys"):
        access.new(settings, "ward-3", "admin", days=1)
    assert in_file(settings) == "{"
