"""The whole loop on the running tower, with a model of a team's own: train, promote, answer, track, drift, retrain, roll back."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from tests.fixtures.registry import latest
from tests.fixtures.tower import RunningTower

from medtower.adapters.git import MAIN
from medtower.adapters.postgres import audit, drift, incidents, performance
from medtower.audit import chain
from medtower.domain.disclaimer import DISCLAIMER
from medtower.errors import Conflict, GateFailed
from medtower.local.health import poll
from medtower.workflows import retrain as retraining
from medtower.workflows.benchmark import benchmark
from medtower.workflows.detect import detect
from medtower.workflows.proposal import open_proposal
from medtower.workflows.reconcile_health import reconcile_health
from medtower.workflows.released import released_models
from medtower.workflows.replay import replay
from medtower.workflows.rollback import rollback
from medtower.workflows.smoke import smoke
from medtower.workflows.track import track
from medtower.workflows.train import train

pytestmark = pytest.mark.tower
NAME = "kidney_loop"
DAYS = 20
PATIENT = {"age": 71, "sex": "F", "creatinine": 1.9, "albumin": 33.51739}


@pytest.fixture(scope="module")
def world(tower: RunningTower) -> RunningTower:
    """The tower with version 1 of the model trained, promoted and serving."""
    tower.publish(NAME)
    made = train(tower.tower, NAME, reason="first version")
    assert made.passed, [str(v) for v in made.gates]
    assert made.version == 1
    assert tower.served(NAME) is None
    tower.promote(NAME, 1)
    tower.wait_served(NAME, 1)
    return tower


@pytest.fixture
def http(world: RunningTower) -> Iterator[httpx.Client]:
    with world.client() as client:
        yield client


@pytest.fixture(scope="module")
def end() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def past(world: RunningTower, end: datetime) -> dict[str, int]:
    """Twenty days of replayed traffic, the last four with creatinine in another unit."""
    return replay(world.as_role("medtower_gateway"), NAME, days=DAYS, until=end)


def ask(http: httpx.Client, request_id: str) -> dict[str, object]:
    body = {"request_id": request_id, "subject_id": "somebody", "features": PATIENT}
    answer = http.post(f"/api/v1/ml/predict/{NAME}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_gateway_answers_for_the_new_model_and_the_record_lands_in_postgres(
    world: RunningTower, http: httpx.Client
) -> None:
    answer = ask(http, "loop-1")
    assert answer["version"] == 1
    assert answer["disclaimer"] == DISCLAIMER
    truth = {"request_id": "loop-1", "model": NAME, "value": 1, "observed_at": datetime.now(UTC).isoformat()}
    http.post("/api/v1/ml/outcomes", json=truth).raise_for_status()
    store = world.tower.predictions

    def on_record() -> list[tuple[float, float]]:
        start, end = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
        rows = store.labelled(NAME, 1, start, end, end)
        found = zip(rows["request_id"], rows["prediction"], rows["outcome"], strict=True)
        return [(p, o) for r, p, o in found if r == "loop-1" and not math.isnan(o)]

    log = world.state.home / "logs" / "gateway.log"
    poll(lambda: bool(on_record()), part="the shipper", deadline=60, log=log)
    assert on_record() == [(pytest.approx(answer["prediction"]), 1.0)]


def test_the_served_version_answers_its_golden_rows_as_signed(world: RunningTower) -> None:
    assert smoke(world.tower, NAME).startswith(f"{NAME} 1 answers")
    assert NAME in released_models(world.tower)


def test_a_replay_is_written_once_however_often_it_runs(
    world: RunningTower, past: dict[str, int], end: datetime
) -> None:
    assert 30 * (DAYS - 1) <= past["predictions"] <= 30 * DAYS
    assert past["outcomes"] > 300
    writer = world.as_role("medtower_gateway")
    assert replay(writer, NAME, days=DAYS, until=end) == {"predictions": 0, "outcomes": 0}
    earlier = end - timedelta(days=2)
    # a replay that ends on another day is another one; nobody's outcome is written under another person's id
    assert replay(writer, NAME, days=2, until=earlier)["predictions"] > 0


def test_tracking_judges_every_kpi_with_n_and_interval(world: RunningTower, past: dict[str, int]) -> None:
    found = track(NAME, world.tower)
    assert found["labelled"] > 100
    assert Path(str(found["report"])).read_text().count(DISCLAIMER) == 1
    rows = [r for r in performance.latest(world.tower.database, NAME) if r.estimate.population == "all"]
    metrics = {r.estimate.metric: r for r in rows}
    assert {"auc_roc", "sensitivity", "latency_p95"} <= set(metrics)
    auc = metrics["auc_roc"].estimate
    assert auc.lower < auc.value < auc.upper
    assert 0 < metrics["auc_roc"].coverage < 1


def test_a_benchmark_is_kept_with_the_number_of_its_requests(world: RunningTower) -> None:
    found = benchmark(NAME, world.tower, requests=100)
    assert found["version"] == 1
    assert found["throughput"] > 0
    assert found["error_rate"] == 0
    assert found["model_load"] > 0
    assert found["latency_p99"] is None  # a hundred requests are too few for an interval around it
    assert found["status"][1] == "insufficient data"
    with world.tower.database.transaction() as cursor:
        cursor.execute(
            "select n from medtower.performance where model = %s and metric = 'throughput'", (NAME,)
        )
        assert cursor.fetchall() == [(100,)]


def test_drift_wakes_retraining_which_makes_one_version_and_one_proposal_a_need(
    world: RunningTower, past: dict[str, int], http: httpx.Client
) -> None:
    tower = world.tower
    found = detect(NAME, tower)
    assert found["alarm"] is True
    assert "creatinine" in found["drifted"]
    assert [f.feature for f in drift.latest(tower.database, NAME).drifted] == found["drifted"]
    assert detect(NAME, tower)["drifted"] == found["drifted"]
    (need,) = [n for n in retraining.needed(tower=tower) if n["model"] == NAME]

    first = retraining.retrain(need, tower)
    second = retraining.retrain(need, tower)
    assert first["version"] == second["version"] == 2
    assert first["gates"] == second["gates"]
    assert first["proposed"] == second["proposed"] == f"promote/{NAME}-2", first["gates"]
    assert latest(tower.registry, NAME).version == 2
    assert incidents.find(tower.database, NAME, only_open=True) == []
    assert [n for n in retraining.needed(tower=tower) if n["model"] == NAME] == []

    world.promote(NAME, 2)
    world.wait_served(NAME, 2)
    assert ask(http, "loop-2")["version"] == 2
    # killed before it closed the incident, and merged since: the next run finds its work done
    third = retraining.retrain(need, tower)
    assert (third["version"], third["proposed"]) == (2, None)


def test_a_rollback_brings_the_old_version_back_without_approvals(
    world: RunningTower, http: httpx.Client
) -> None:
    old = ask(http, "loop-1")
    done = rollback(world.tower.repository, NAME, "a test of the way back")
    assert done.to == 1
    world.wait_served(NAME, 1)
    again = ask(http, "loop-3")
    assert (again["version"], again["prediction"]) == (1, old["prediction"])


def test_what_serves_agrees_with_git_and_the_audit_trail_is_whole(world: RunningTower) -> None:
    tower = world.as_role("medtower_airflow")
    assert NAME not in reconcile_health(tower)["differing"]
    events = audit.read(tower.database)
    assert chain.verify(events) == len(events)
    said = [(e.event.action, e.event.subject) for e in events if e.event.subject.startswith(NAME)]
    assert ("serves", f"{NAME} 1") in said
    assert ("trained", f"{NAME} 2") in said


def test_a_model_asked_for_by_hand_while_another_process_works_on_it_is_a_conflict(
    world: RunningTower,
) -> None:
    from medtower.adapters.postgres import lock

    need = retraining.needed(NAME, 20, "because", world.tower)[0]
    with lock.held(world.tower.database, str(need["trigger"])), pytest.raises(Conflict, match="wait for it"):
        retraining.retrain(need, world.tower)


def test_weights_changed_by_one_byte_are_refused_and_the_incumbent_keeps_serving(
    world: RunningTower, http: httpx.Client
) -> None:
    made = train(world.tower, NAME, reason="a version that is tampered with")
    branch = open_proposal(world.tower, NAME, made.version)
    file = _artifact(world)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    world.promote(NAME, made.version)
    assert world.tower.repository.head(branch) is None
    log = world.state.home / "logs" / "reconciler.log"
    poll(lambda: _refusals(world) > 0, part="the reconciler's refusal", deadline=60, log=log)
    assert world.served(NAME) == 1
    assert ask(http, "loop-4")["version"] == 1
    assert "the signature in model.onnx.sig is not one of our key over these weights" in log.read_text()

    file.write_bytes(whole)
    rollback(world.tower.repository, NAME, "the weights were changed")
    assert world.tower.repository.head(MAIN)
    world.wait_served(NAME, 1)


def test_a_version_whose_gates_fail_is_registered_as_evidence_and_cannot_be_proposed(
    tower: RunningTower,
) -> None:
    name = "kidney_hopeless"
    tower.publish(name)
    with tower.tower.repository.checkout() as work:
        path = work.folder / "triton_models" / name / "model.yaml"
        path.write_text(path.read_text().replace("min_samples: 100", "min_samples: 100000"))
        work.commit("Ask for more people than there are")
        work.push(expected=work.tip)
    made = train(tower.tower, name, reason="a test")
    assert not made.passed
    with pytest.raises(GateFailed):
        open_proposal(tower.tower, name, made.version)
    assert not [b for b in tower.tower.repository.branches("promote/") if name in b]


def test_no_secret_and_no_patient_stands_in_a_log_of_the_tower(world: RunningTower) -> None:
    from medtower.local import state

    secrets = state.credentials(world.state.home)
    plain = secrets.model_dump()
    unwanted = [v for v in plain.values() if isinstance(v, str)] + list(secrets.roles.values())
    unwanted += ["somebody", "33.51739"]
    for log in sorted((world.state.home / "logs").glob("*.log")):
        text = log.read_text(errors="replace")
        assert not [u for u in unwanted if u in text], log.name


def _artifact(world: RunningTower) -> Path:
    """The file of the newest version's network in MLflow's artifact store."""
    return max((world.state.home / "artifacts").rglob("model.onnx"), key=lambda p: p.stat().st_mtime_ns)


def _refusals(world: RunningTower) -> float:
    text = httpx.get(world.state.url("reconciler", "/metrics"), trust_env=False).text
    lines = [
        line
        for line in text.splitlines()
        if line.startswith("medtower_reconcile_failures_total") and NAME in line
    ]
    return sum(float(line.split()[-1]) for line in lines)


def test_the_spool_is_empty_once_everything_is_shipped(world: RunningTower) -> None:
    def waiting() -> int:
        path = world.settings.path("spool")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as spool:
            names = [r[0] for r in spool.execute("select name from sqlite_master where type='table'")]
            assert names
        text = httpx.get(world.state.url("gateway", "/metrics"), trust_env=False).text
        return int(
            float(next(v.split()[1] for v in text.splitlines() if v.startswith("medtower_spool_depth")))
        )

    poll(lambda: waiting() == 0, part="the shipper", deadline=30)
