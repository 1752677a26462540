"""The rollback drill on a running tower: real training, signatures, reconciler and Triton. The tests tell one story, in their order."""

from __future__ import annotations

import pytest
from tests.fixtures.releases import ROLES
from tests.fixtures.tower import RunningTower

from medtower.adapters.postgres import audit, health
from medtower.domain.audit_event import AuditEvent
from medtower.errors import NotFound
from medtower.workflows import history, model_tree
from medtower.workflows.approve import approve
from medtower.workflows.drill import TASK, drill, prepare
from medtower.workflows.drill_model import MODEL
from medtower.workflows.pull_request import merge

pytestmark = pytest.mark.tower


def prepared(tower: RunningTower, *, signed: bool = True) -> int:
    """Another version, proposed and (unless said otherwise) signed in advance."""
    version = int(prepare(tower.tower).removeprefix(f"promote/{MODEL}-"))
    if signed:
        sign(tower, version)
    return version


def sign(tower: RunningTower, version: int) -> None:
    for role in ROLES:
        key, person = tower.state.home / "keys" / role, f"{role}@example.org"
        environment = tower.settings.environment
        approve(
            tower.tower.repository, MODEL, version, role, key=key, approver=person, environment=environment
        )


def rehearsals(tower: RunningTower) -> list[AuditEvent]:
    events = [e.event for e in audit.read(tower.tower.database)]
    return [e for e in events if e.action == "rehearses a rollback of"]


def test_a_drill_without_a_proposal_says_what_to_do(tower: RunningTower) -> None:
    with pytest.raises(NotFound, match=r"none is proposed; propose one with: medtower drill --prepare"):
        drill(tower.tower)


def test_a_drill_without_approvals_names_them_and_promotes_nothing(tower: RunningTower) -> None:
    assert prepared(tower, signed=False) == 1
    with pytest.raises(
        NotFound, match="version 1: .* lacks the approval of technical, clinical, compliance, final"
    ):
        drill(tower.tower)
    assert model_tree.release_at(tower.tower.repository, "main", MODEL).version is None


def test_the_first_drill_leaves_its_version_in_service(tower: RunningTower) -> None:
    sign(tower, 1)
    found = drill(tower.tower)
    assert (found["version"], found["back_to"], found["revert_seconds"]) == (1, None, None)
    assert 0 < float(str(found["promote_seconds"])) < 120
    tower.wait_served(MODEL, 1)
    # nothing was taken back, so the alert goes on saying so
    assert (TASK, "") not in health.last_success(tower.tower.database)


def test_a_drill_promotes_the_oldest_signed_version_takes_it_back_and_records_the_seconds(
    tower: RunningTower,
) -> None:
    unsigned, first, second = prepared(tower, signed=False), prepared(tower), prepared(tower)
    for version in (first, second):
        found = drill(tower.tower)
        assert (found["model"], found["version"], found["back_to"]) == (MODEL, version, 1)
        assert 0 < float(str(found["revert_seconds"])) < 120
        assert tower.served(MODEL) == 1
        event = rehearsals(tower)[-1]
        assert (event.actor, event.subject) == ("drill", f"{MODEL} {version}")
        assert event.details["revert_seconds"] == found["revert_seconds"]
    assert (TASK, "") in health.last_success(tower.tower.database)
    with pytest.raises(NotFound, match=f"version {unsigned}: "):
        drill(tower.tower)


def test_what_an_interrupted_drill_left_is_taken_back_first(tower: RunningTower) -> None:
    left, following = prepared(tower), prepared(tower)
    merge(tower.tower, MODEL, left)
    found = drill(tower.tower)
    assert (found["version"], found["back_to"]) == (following, 1)
    assert [e.release.version for e in history.ledger(tower.tower.repository, "main", MODEL).stack] == [1]
