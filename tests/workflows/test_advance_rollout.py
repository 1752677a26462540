"""Looks at a rollout: real git, keys and Postgres; what the reconciler told and the gateway recorded is written as they write it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.fixtures.postgres import Cluster
from tests.fixtures.releases import ENVIRONMENT, STEP_VERDICT, released

from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.audit import chain
from medtower.domain.audit_event import AuditEvent
from medtower.domain.prediction import Failure, Prediction
from medtower.domain.rollout import Plan
from medtower.settings import Settings
from medtower.workflows import model_tree
from medtower.workflows.advance_rollout import Underway, advance, underway
from medtower.workflows.tower import Tower

MODEL = "sum_model"
STAGED = Plan(strategy="staged", steps=[10, 50, 100], hold_hours=1, shadow_hours=24)
GRADUAL = Plan(strategy="gradual", steps=[10, 50, 100], hold_hours=1)
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
EXPIRED = 'valid-before="20260101000000Z"'


class Clinic:
    """A tower whose version 1 serves and whose version 2 was promoted with `plan`. The reconciler has not seen that yet."""

    def __init__(self, root: Path, cluster: Cluster, plan: Plan, committed: datetime = NOW) -> None:
        self.world, self.ids = released(root, MODEL, promoted=(1,)), itertools.count()
        self.reconciler = Database(cluster.dsn("medtower_reconciler"))
        self.gateway = PredictionStore(cluster.dsn("medtower_gateway"))
        settings = Settings(
            home=root / "home",
            repository=self.world.repository.path,
            trust_root=self.world.trust_root,
            environment=ENVIRONMENT,
            dsn=SecretStr(cluster.dsn("medtower_airflow")),
            rollout_key=self.world.bot,
        )
        self.tower = Tower(settings)
        self.world.propose(MODEL, 2, plan=plan)
        self.world.approve(MODEL, 2)
        self.world.merge_by_hand(MODEL, 2, committed)
        self.digest = str(model_tree.release_at(self.world.repository, "main", MODEL).digest)

    def routed(self, at: datetime, arms: str, digest: str | None = None) -> None:
        details = {
            "arms": arms,
            "digest": digest or self.digest,
            "instead_of": "",
            "commit": "",
            "reason": "",
        }
        event = AuditEvent(at=at, actor="reconciler", action="serves", subject=f"{MODEL} 2", details=details)
        rows.append(self.reconciler, event, chain.link)

    def fails(self, *received: datetime, event_time: datetime | None = None, opened: bool = False) -> None:
        """Version 2 fails at the requests of new patients."""
        values = {"code": 502, "arm": "candidate", "opened": opened}
        self.gateway.write([Failure(**self._row(2, at, event_time), **values) for at in received])

    def answers(self, version: int, *received: datetime) -> None:
        values = {"features": [1.0], "prediction": 3.0, "confidence": 0.9, "requires_human_review": False}
        values["arm"] = "candidate" if version == 2 else "current"
        self.gateway.write([Prediction(**self._row(version, at), **values) for at in received])

    def _row(self, version: int, received: datetime, event_time: datetime | None = None) -> dict[str, Any]:
        number = next(self.ids)
        return {
            "request_id": f"r{number}",
            "model": MODEL,
            "version": version,
            "digest": self.digest,
            "subject": f"s{number}",
            "event_time": event_time or received,
            "received_at": received,
            "latency_ms": 5.0,
        }

    def expire(self, role: str) -> None:
        """The key of `role` is not valid any more."""
        root, namespace = self.world.trust_root, f'namespaces="medtower-{role}"'
        root.write_text(root.read_text().replace(namespace, f"{namespace},{EXPIRED}"))

    def underway(self) -> Underway:
        found = underway(self.tower, MODEL)
        assert found is not None
        return found

    def advance(self) -> dict[str, object]:
        return advance(MODEL, self.tower, now=NOW)

    def released(self) -> int | None:
        return model_tree.release_at(self.world.repository, "main", MODEL).version


@pytest.mark.parametrize("year", [2001, 2090])
def test_a_rollout_begins_when_the_reconciler_routes_to_it_whatever_the_committers_clock_says(
    tmp_path: Path, clean_postgres: Cluster, year: int
) -> None:
    clinic = Clinic(tmp_path, clean_postgres, STAGED, datetime(year, 1, 1, tzinfo=UTC))
    told = clinic.advance()
    assert (told["decision"], told["commit"]) == ("HOLD", None)
    assert "the reconciler has not routed to it yet" in str(told["reason"])
    clinic.routed(NOW - 40 * HOUR, "current:1@100,shadow:2@0", digest="0" * 64)  # another release's
    clinic.routed(NOW - 39 * HOUR, "current:1@100")  # it is not among the arms
    assert clinic.underway().since is None
    clinic.routed(NOW - 30 * HOUR, "current:1@100,shadow:2@0")
    clinic.routed(NOW - 2 * HOUR, "current:1@100,shadow:2@0")  # told again by a reconciler that started anew
    found = clinic.underway()
    assert (found.stage, found.since, found.doubt) == (0, NOW - 30 * HOUR, None)
    assert "0 patients" in str(clinic.advance()["reason"])


def test_a_later_stage_begins_when_the_reconciler_routes_its_share(
    tmp_path: Path, clean_postgres: Cluster
) -> None:
    """A reconciler that was down for hours leaves patients under the former share, who say nothing of this stage."""
    clinic = Clinic(tmp_path, clean_postgres, STAGED)
    clinic.routed(NOW - 30 * HOUR, "current:1@100,shadow:2@0")
    clinic.world.advance(MODEL, decided_at=NOW - 5 * HOUR)
    found = clinic.underway()
    assert (found.stage, found.since) == (1, None)
    assert "the reconciler has not routed to it yet" in str(clinic.advance()["reason"])
    clinic.routed(NOW - 3 * HOUR, "current:1@90,candidate:2@10")
    clinic.routed(NOW - 2 * HOUR, "current:1@90,candidate:2@10")  # told again
    assert clinic.underway().since == NOW - 3 * HOUR


def test_a_later_stage_began_after_the_bot_had_signed_it(tmp_path: Path, clean_postgres: Cluster) -> None:
    clinic = Clinic(tmp_path, clean_postgres, STAGED)
    clinic.routed(NOW - 6 * HOUR, "current:1@90,candidate:2@10")  # a clock that was behind
    clinic.world.advance(MODEL, decided_at=NOW - 5 * HOUR)
    assert clinic.underway().since == NOW - 5 * HOUR


def test_a_breaker_opened_by_a_request_about_an_old_sample_takes_the_version_back(
    tmp_path: Path, clean_postgres: Cluster
) -> None:
    clinic = Clinic(tmp_path, clean_postgres, GRADUAL)
    clinic.fails(NOW - HOUR, event_time=NOW - timedelta(days=900), opened=True)
    told = clinic.advance()
    assert (told["decision"], clinic.released()) == ("ROLLBACK", 1), told


@pytest.mark.parametrize("role", ["clinical", "rollout"])
@pytest.mark.parametrize("opened", [True, False])
def test_an_expired_key_holds_up_no_rollback(
    tmp_path: Path, clean_postgres: Cluster, role: str, opened: bool
) -> None:
    """Neither that of a breaker nor that of a verdict: the candidate fails at every second patient at the stage that was reached."""
    clinic = Clinic(tmp_path, clean_postgres, GRADUAL)
    clinic.routed(NOW - 9 * HOUR, "current:1@90,candidate:2@10")
    clinic.world.advance(MODEL, decided_at=NOW - 5 * HOUR)
    clinic.routed(NOW - 5 * HOUR, "current:1@50,candidate:2@50")
    clinic.expire(role)
    found = clinic.underway()
    assert (found.stage, found.since) == (1, NOW - 5 * HOUR)
    assert "valid-before" in str(found.doubt)
    if opened:
        clinic.fails(NOW - HOUR, opened=True)
    else:
        moments = [NOW - 4 * HOUR + timedelta(seconds=n) for n in range(300)]
        clinic.answers(1, *moments)
        clinic.answers(2, *moments[::2])
        clinic.fails(*moments[1::2])
    told = clinic.advance()
    assert (told["decision"], clinic.released()) == ("ROLLBACK", 1), told


def test_a_rollout_goes_on_only_while_its_approvals_verify(
    tmp_path: Path, clean_postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = Clinic(tmp_path, clean_postgres, GRADUAL)
    clinic.routed(NOW - 9 * HOUR, "current:1@90,candidate:2@10")
    monkeypatch.setattr("medtower.workflows.advance_rollout.judge", lambda *_, **__: [STEP_VERDICT])
    valid = clinic.world.trust_root.read_text()
    clinic.expire("clinical")
    told = clinic.advance()
    assert (told["decision"], told["commit"]) == ("HOLD", None)
    assert "release policy" in str(told["reason"]) and "valid-before" in str(told["reason"])
    clinic.world.trust_root.write_text(valid)
    assert clinic.advance()["decision"] == "PROMOTE"
    assert clinic.underway().stage == 1
