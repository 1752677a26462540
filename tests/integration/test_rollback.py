"""A rollback at every step of a rollout, and of a whole running tower with parts of it down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fixtures.reconciler import ROW, Scene
from tests.fixtures.tower import RunningTower
from tests.integration.test_dag_runs import DAG_TEST, environment  # noqa: F401 - a fixture

from medtower.adapters.postgres import incidents
from medtower.adapters.postgres.rollout_record import RolloutRecord
from medtower.domain.incident import Incident
from medtower.domain.rollout import Plan
from medtower.local.health import poll
from medtower.serving import routing
from medtower.workflows import exposure
from medtower.workflows.reconcile_health import reconcile_health
from medtower.workflows.rollback_checks import SHOWN
from medtower.workflows.take_back import take_back
from medtower.workflows.train import train

PLAN = Plan(strategy="staged", steps=[10, 50, 100], hold_hours=0, shadow_hours=0.0001)
STAGES = [
    "current:2@100,shadow:3@0",
    "current:2@90,candidate:3@10",
    "current:2@50,candidate:3@50",
    "current:3@100",
]
NAME = "kidney_rollback"
COMMAND = Path(sys.executable).with_name("medtower")
PATIENTS = SHOWN
PATIENT = {"age": 70, "sex": "F", "creatinine": 1.3, "albumin": 38}


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_a_plain_git_revert_of_the_promotion_at_every_step_has_no_conflict_and_serves_the_old_version_at_once(
    scene: Scene, stage: int
) -> None:
    scene.world.guard()  # the hook judges every push
    scene.promote(1)
    scene.promote(2, Plan(strategy="gradual", steps=[10, 100], hold_hours=0))
    scene.advance()  # version 2 took over by steps itself: everybody goes back to it, not to its first step
    promotion = scene.promote(3, PLAN)
    assert scene.once() == "ok"
    for _ in range(stage):
        scene.advance()
        assert scene.once() == "ok"
    assert scene.arms() == STAGES[stage]
    scene.world.shelf_open = False  # MLflow is down
    loaded = {"model": scene.model, "version": "2"}
    loads, fetches = scene.metric("medtower_model_load_seconds", **loaded), scene.world.fetches
    scene.world.revert(promotion)
    assert scene.once() == "ok"
    assert scene.arms() == "current:2@100"
    assert {routing.choose(scene.route(), f"patient-{n}").version for n in range(50)} == {2}
    assert scene.triton.infer(scene.model, 2, [ROW]) == [8.0]
    # it was warm: nothing was fetched and nothing was loaded again
    assert scene.world.fetches == fetches
    assert scene.metric("medtower_model_load_seconds", **loaded) == loads


@pytest.fixture(scope="module")
def serving(tower: RunningTower) -> RunningTower:
    """Version 1 of NAME serves and has answered."""
    tower.publish(NAME)
    train(tower.tower, NAME, reason="first version")
    tower.promote(NAME, 1)
    tower.wait_served(NAME, 1)
    ask(tower, PATIENTS)
    return tower


@pytest.fixture
def promotion(serving: RunningTower) -> str:
    """The commit that promoted another version of NAME; it serves some patients or is in the shadow."""
    version = train(serving.tower, NAME, reason="the next version").version
    commit = serving.promote(NAME, version)
    log = serving.state.home / "logs" / "reconciler.log"
    poll(lambda: version in versions(serving), part="the reconciler", deadline=60, log=log)
    return commit


def versions(tower: RunningTower) -> set[int]:
    return routing.read(tower.settings.path("routing")).routes[NAME].versions


def ask(tower: RunningTower, n: int) -> None:
    """`n` patients are answered, and their answers are in Postgres."""
    start = datetime.now(UTC)
    with tower.client() as client:
        for i in range(n):
            body = {"subject_id": f"p{i}", "features": PATIENT | {"age": 40 + i % 60}}
            answer = client.post(f"/api/v1/ml/predict/{NAME}", json=body)
            assert answer.status_code == 200, answer.text
    record = RolloutRecord(tower.settings.dsn.get_secret_value())

    def shipped() -> bool:
        end = datetime.now(UTC)
        return len(record.arm(NAME, 1, start, end, end)["subjects"]) >= n

    poll(shipped, part="the shipper", deadline=60, log=tower.state.home / "logs" / "gateway.log")


def medtower(tower: RunningTower, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDTOWER_")}
    return subprocess.run(
        [COMMAND, *arguments],
        env={**kept, "MEDTOWER_HOME": str(tower.state.home), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def incident(tower: RunningTower) -> Incident:
    """That of the newest rollback of NAME."""
    found = [i for i in incidents.find(tower.tower.database, NAME) if i.kind == "rollback"]
    return max(found, key=lambda i: i.opened_at)


def test_the_verb_takes_back_and_the_incident_closes_once_all_is_seen_to_be_well(
    serving: RunningTower, promotion: str
) -> None:
    done = medtower(serving, "rollback", NAME, "--reason", "sensitivity is critical")
    assert done.returncode == 0, done.stderr
    assert "version 1 is released" in done.stdout
    serving.wait_served(NAME, 1)
    assert versions(serving) == {1}
    (page,) = (serving.state.home / "reports" / NAME).glob("rollback-*.html")
    # the validation of the verb itself waited for the reconciler
    assert "answers 16 rows as signed" in page.read_text()
    assert incident(serving).closed_at is None
    ask(serving, PATIENTS)
    reconcile_health(serving.tower)
    closed = incident(serving)
    assert closed.closed_at is not None, page.read_text()
    assert (closed.resolution or "").count(": passed") == 6
    assert (
        "not known"
        not in page.read_text().replace("Not known", "").split("</caption>")[0].split("<caption>")[0]
    )


def test_the_verb_needs_none_of_the_parts_and_the_next_look_tells_the_rest(
    serving: RunningTower, promotion: str
) -> None:
    dead, before = "127.0.0.1:1", incident(serving).key
    done = medtower(
        serving,
        *("rollback", NAME, "--reason", "everything else is down"),
        MEDTOWER_DSN="host=127.0.0.1 port=1 dbname=medtower user=medtower_airflow",
        MEDTOWER_MLFLOW_URI=f"http://{dead}",
        MEDTOWER_TRITON_URL=dead,
        MEDTOWER_GATEWAY_URL=f"http://{dead}",
    )
    assert done.returncode == 0, done.stderr
    assert "its report comes later" in done.stderr
    serving.wait_served(NAME, 1)
    assert incident(serving).key == before
    reconcile_health(serving.tower)
    assert incident(serving).key != before


def test_a_revert_by_hand_is_followed_found_and_told(
    serving: RunningTower, promotion: str, tmp_path: Path
) -> None:
    git = ["git", "-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run([*git, "clone", "-q", serving.settings.path("repository"), tmp_path / "copy"], check=True)
    subprocess.run(
        [*git, "revert", "--no-edit", promotion], cwd=tmp_path / "copy", check=True, capture_output=True
    )
    subprocess.run([*git, "push", "-q", "origin", "HEAD:main"], cwd=tmp_path / "copy", check=True)
    serving.wait_served(NAME, 1)
    reconcile_health(serving.tower)
    assert "Revert" in incident(serving).summary


def test_git_and_the_running_reconciler_tell_the_same_exposure(serving: RunningTower, promotion: str) -> None:
    start = datetime.now(UTC)
    take_back(serving.tower, NAME, "a test")
    log = serving.state.home / "logs" / "reconciler.log"

    def told() -> bool:
        return exposure.from_trail(serving.tower.database, NAME, datetime.now(UTC)) == [(1, 100)]

    poll(told, part="the trail", deadline=60, log=log)
    told = medtower(serving, "exposure", NAME)
    assert told.returncode == 0, told.stdout
    assert told.stdout.splitlines() == [
        "git:         version 1 for 100 %",
        "audit trail: version 1 for 100 %",
    ]
    since = serving.state.started_at
    assert exposure.compare(serving.tower.repository, serving.tower.database, NAME, since, start) == []


def test_a_form_in_airflow_takes_back_the_version_that_it_names(
    serving: RunningTower,
    promotion: str,
    environment: dict[str, str],  # noqa: F811
) -> None:
    version = max(versions(serving))
    conf = {"model": NAME, "version": version, "reason": "from the form"}
    runs = json.dumps([["rollback", conf], ["rollback", conf]])  # the second one finds that it is done
    done = subprocess.run(
        [sys.executable, "-c", DAG_TEST, str(serving.state.source / "dags"), runs],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == [["rollback", "success"]] * 2
    assert versions(serving) == {1}
    assert "from the form" in incident(serving).summary
