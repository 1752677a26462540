"""The DAG files' own code against the running tower: twice, at once, and killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from tests.fixtures.registry import latest
from tests.fixtures.tower import RunningTower

from medtower.adapters.postgres import incidents
from medtower.local import airflow, processes, state
from medtower.local.health import poll
from medtower.workflows.detect import detect
from medtower.workflows.replay import replay
from medtower.workflows.retrain import needed
from medtower.workflows.train import train

pytestmark = pytest.mark.tower
NAME = "kidney_dags"
TRACK = f"from medtower.workflows.track import track; print(track({NAME!r}))"
RETRAIN = "import json, sys; from medtower.workflows.retrain import retrain; print(json.dumps(retrain(json.loads(sys.argv[1]))))"
DAG_TEST = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
states = []
for dag, conf in json.loads(sys.argv[2]):
    run = bag.dags[dag].test(run_conf=conf)
    states.append([dag, str(run.state)])
print(json.dumps(states))
"""


@pytest.fixture(scope="module")
def environment(tower: RunningTower, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What Airflow's processes of this tower get, with its database migrated; what a killed one leaves is left in a folder of the test's."""
    secrets = state.credentials(tower.state.home)
    found = processes.groups(tower.state.model_copy(update={"groups": ("airflow",)}), secrets)["airflow"][
        0
    ].environment
    airflow.migrate(found, secrets, tower.state.home)
    return {**found, "TMPDIR": str(tmp_path_factory.mktemp("temporary"))}


@pytest.fixture(scope="module")
def world(tower: RunningTower) -> RunningTower:
    """Version 1 serves and has twelve days of traffic, the last with a shift."""
    tower.publish(NAME)
    train(tower.tower, NAME, reason="first version")
    tower.promote(NAME, 1)
    tower.wait_served(NAME, 1)
    replay(tower.as_role("medtower_gateway"), NAME, days=20)
    return tower


def start(script: str, environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> str:
    """Its last line; the process must have ended well."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    return out.strip().splitlines()[-1]


def rows(world: RunningTower, table: str, columns: str) -> list[tuple[object, ...]]:
    with world.tower.database.transaction() as cursor:
        cursor.execute(
            f"select {columns} from medtower.{table} where model = %s order by {columns}",  # noqa: S608
            (NAME,),
        )
        return cursor.fetchall()


def tracked(world: RunningTower) -> list[tuple[object, ...]]:
    return rows(world, "performance", "version, kind, metric, population, n, value")


@contextmanager
def blocked(world: RunningTower, statement: str) -> Iterator[psycopg2.extensions.cursor]:
    """Run `statement`, which takes a lock, as superuser, and hold it for the work inside."""
    dsn = state.credentials(world.state.home).dsn(world.state, "postgres")
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            yield cursor
    finally:
        connection.rollback()
        connection.close()


def waits_for(cursor: psycopg2.extensions.cursor, table: str) -> bool:
    """True when somebody waits for the lock on that table; pg_locks is read anew within a transaction, pg_stat_activity is not."""
    cursor.execute("select count(*) from pg_locks where not granted and relation = %s::regclass", (table,))
    return bool(cursor.fetchone()[0])


def test_the_dags_of_tracking_and_drift_run_twice_and_leave_the_same_rows(
    world: RunningTower, environment: dict[str, str]
) -> None:
    dags = str(Path(__file__).parents[2] / "dags")
    runs = json.dumps([[dag, {}] for dag in ("track_performance", "detect_drift")])
    wanted = [["track_performance", "success"], ["detect_drift", "success"]]
    assert json.loads(finished(start(DAG_TEST, environment, dags, runs))) == wanted
    first = tracked(world), rows(world, "drift", "version, window_end, feature, severity")
    assert first[0] and first[1]
    assert json.loads(finished(start(DAG_TEST, environment, dags, runs))) == wanted
    second = tracked(world), rows(world, "drift", "version, window_end, feature, severity")
    assert [r[:4] for r in second[0]] == [r[:4] for r in first[0]]
    # a run that crosses the full hour tests the next window as well
    assert set(first[1]) <= set(second[1])
    assert len(second[1]) == len({r[:3] for r in second[1]})


def test_two_trackings_at_once_leave_one_row_a_metric(
    world: RunningTower, environment: dict[str, str]
) -> None:
    both = [start(TRACK, environment), start(TRACK, environment)]
    for process in both:
        assert "labelled" in finished(process)
    found = tracked(world)
    assert len(found) == len({r[:4] for r in found})
    reports = list((world.settings.path("reports") / NAME).iterdir())
    assert not [p for p in reports if p.name.startswith(".")]


def test_tracking_killed_in_the_middle_is_completed_by_the_next_run(
    world: RunningTower, environment: dict[str, str]
) -> None:
    with blocked(world, "lock table medtower.incidents in access exclusive mode") as cursor:
        process = start(TRACK, environment)
        poll(lambda: waits_for(cursor, "medtower.incidents"), part="tracking", deadline=60)
        kill(process)
    before = tracked(world)
    assert before  # the numbers were written, the rest was not
    assert "labelled" in finished(start(TRACK, environment))
    after = tracked(world)
    assert [r[:4] for r in after] == [r[:4] for r in before]


def test_retraining_killed_in_the_middle_makes_no_second_version_and_no_second_proposal(
    world: RunningTower, environment: dict[str, str], tmp_path: Path
) -> None:
    tower = world.tower
    assert detect(NAME, tower)["alarm"] is True
    (need,) = [n for n in needed(tower=tower) if n["model"] == NAME]
    argument = json.dumps(need)
    # killed after the version was registered and before anything was proposed
    with blocked(world, "lock table medtower.audit in access exclusive mode") as cursor:
        process = start(RETRAIN, environment, argument)
        poll(
            lambda: waits_for(cursor, "medtower.audit") and _latest(world) == 2,
            part="retraining",
            deadline=90,
        )
        kill(process)
    assert _proposals(world) == []
    assert [n for n in needed(tower=tower) if n["model"] == NAME] == [need]
    # killed after the proposal and before the incident was closed
    with blocked(world, "lock table medtower.incidents in exclusive mode") as cursor:
        process = start(RETRAIN, environment, argument)
        poll(lambda: waits_for(cursor, "medtower.incidents"), part="retraining", deadline=90)
        kill(process)
    gates = tower.registry.fetch_file(latest(tower.registry, NAME).run_id, "gates.json", tmp_path)
    proposal = tower.repository.head(f"promote/{NAME}-2")
    assert proposal, gates.read_text()

    found = json.loads(finished(start(RETRAIN, environment, argument)))
    assert (found["version"], found["proposed"]) == (2, f"promote/{NAME}-2")
    assert _latest(world) == 2
    assert _proposals(world) == [f"promote/{NAME}-2"]
    assert tower.repository.head(f"promote/{NAME}-2") == proposal
    assert incidents.find(tower.database, NAME, only_open=True) == []


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def _latest(world: RunningTower) -> int:
    found = latest(world.tower.registry, NAME)
    return found.version if found else 0


def _proposals(world: RunningTower) -> list[str]:
    return [b for b in world.tower.repository.branches("promote/") if b.startswith(f"promote/{NAME}-")]
