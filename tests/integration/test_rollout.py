"""A rollout on the real tower: patients through the gateway, verdicts from the record, steps and a revert as commits, obeyed by the reconciler."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from tests.fixtures.tower import RunningTower

from medtower.adapters.postgres.rollout_record import RolloutRecord
from medtower.errors import Conflict
from medtower.local.health import poll
from medtower.releases import traffic_file
from medtower.serving import routing
from medtower.workflows import advance_rollout, history, model_tree, trail
from medtower.workflows.advance_rollout import advance
from medtower.workflows.train import train

pytestmark = pytest.mark.tower
# wide margins: two hundred patients an arm cannot show the narrow ones of a real contract
MARGINS = {"error_rate": 0.1, "latency_ratio": 8, "quality": 0.1, "disagreement": 0.4}
PLAN = {"steps": [50, 100], "hold_hours": 0, "shadow_hours": 1, "min_samples": 40, "margins": MARGINS}


def arms(tower: RunningTower, name: str) -> dict[int, float]:
    route = routing.read(tower.settings.path("routing")).routes[name]
    return {a.version: a.weight for a in route.arms}


def wait_arms(tower: RunningTower, name: str, wanted: dict[int, float]) -> None:
    poll(lambda: arms(tower, name) == wanted, part=f"the reconciler ({name})", deadline=60)


def ask(tower: RunningTower, name: str, people: int, *, first: int = 0) -> dict[str, int]:
    """One request of each of `people` patients; which version answered which request."""
    answered = {}
    with tower.client() as http:
        for person in range(first, first + people):
            body = {
                "request_id": str(uuid.uuid4()),
                "subject_id": f"patient-{person}",
                "features": {
                    "age": 40 + person % 50,
                    "sex": "FM"[person % 2],
                    "creatinine": 0.6 + person % 7 / 5,
                },
            }
            response = http.post(f"/api/v1/ml/predict/{name}", json=body)
            assert response.status_code == 200, response.text
            answered[body["request_id"]] = response.json()["version"]
    return answered


def tell_outcomes(tower: RunningTower, name: str, answered: dict[str, int], wrong: int) -> None:
    """Ground truth: as predicted for every version but `wrong`, the opposite for that one."""
    now = datetime.now(UTC)
    rows = tower.tower.predictions.labelled(name, None, now - timedelta(hours=1), now, now)
    likely = dict(zip(rows["request_id"], np.array(rows["prediction"]) >= 0.5, strict=True))
    told = [
        {
            "request_id": request,
            "model": name,
            "value": float(bool(likely[request]) != (version == wrong)),
            "observed_at": now.isoformat(),
        }
        for request, version in answered.items()
    ]
    with tower.client() as http:
        http.post("/api/v1/ml/outcomes", json=told).raise_for_status()


def wait_recorded(tower: RunningTower, name: str, n: int, *, outcomes: bool = False) -> None:
    record = RolloutRecord(tower.settings.dsn.get_secret_value())

    def there() -> bool:
        now = datetime.now(UTC)
        found = [record.arm(name, v, now - timedelta(hours=1), now, now) for v in (1, 2)]
        rows = sum(len(f["failed"]) for f in found)
        return rows >= n and (not outcomes or sum(int((~np.isnan(f["outcome"])).sum()) for f in found) >= n)

    poll(there, part="the shipper", deadline=60)


def half_way(tower: RunningTower, name: str, **plan: object) -> str:
    """A model whose version 1 serves and whose version 2 is at its first stage, half of the patients."""
    tower.publish(name, rollout=PLAN | plan)
    for version in (1, 2):
        train(tower.tower, name, reason="a test")
        tower.promote(name, version, emergency=False)
        wait_arms(tower, name, {1: 100.0} if version == 1 else {1: 50.0, 2: 50.0})
    poll(lambda: begun(tower, name), part="the reconciler's event", deadline=60)
    return name


def begun(tower: RunningTower, name: str) -> bool:
    found = advance_rollout.underway(tower.tower, name)
    return found is not None and found.since is not None


@pytest.fixture(scope="module")
def rolling(tower: RunningTower) -> str:
    """A rollout in three stages, the second so near to the first that only its own evidence may tell them apart; the tests that use it tell one
    story, in their order."""
    return half_way(tower, "kidney_steps", steps=[50, 51, 100])


def gather(tower: RunningTower, name: str, people: int) -> None:
    """Evidence on both arms since the last step, on record."""
    traffic = history.traffic_at(tower.tower.repository, "main", name)
    began = traffic.decided_at if traffic else datetime.now(UTC)
    poll(lambda: datetime.now(UTC) - began > timedelta(seconds=1), part="the clock", deadline=5)
    before = recorded(tower, name)
    assert set(ask(tower, name, people).values()) == {1, 2}
    poll(lambda: recorded(tower, name) == before + people, part="the shipper", deadline=60)


def recorded(tower: RunningTower, name: str) -> int:
    record, now = RolloutRecord(tower.settings.dsn.get_secret_value()), datetime.now(UTC)
    return sum(len(record.arm(name, v, now - timedelta(hours=1), now, now)["failed"]) for v in (1, 2))


def steps_taken(tower: RunningTower, name: str) -> list[str]:
    log = tower.tower.repository.log("main", model_tree.path(name, traffic_file.NAME))
    return [commit.subject for commit in reversed(log)]


def test_17_a_rollout_without_traffic_holds(tower: RunningTower, rolling: str) -> None:
    told = advance(rolling, tower.tower)
    assert told["decision"] == "HOLD" and told["commit"] is None
    assert "0 patients" in str(told["reason"]), told
    assert steps_taken(tower, rolling) == []


def advance_and_die(tower: RunningTower, name: str) -> None:
    """As in a task whose scheduler is killed when the step is pushed and nobody was told of it."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    trail.note = die  # in this process alone
    advance(name, tower.with_settings())


def test_23_a_rollout_killed_after_its_step_is_gone_on_with_and_steps_neither_twice_nor_too_far(
    tower: RunningTower, rolling: str
) -> None:
    gather(tower, rolling, 400)
    process = multiprocessing.get_context("fork").Process(target=advance_and_die, args=(tower, rolling))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    first = [f"Advance {rolling} 2 to 51 % of patients"]
    assert steps_taken(tower, rolling) == first
    wait_arms(tower, rolling, {1: 49.0, 2: 51.0})
    # run again: what was judged before the step is no evidence for the next
    told = advance(rolling, tower.tower)
    assert (told["stage"], told["decision"], told["commit"]) == (1, "HOLD", None), told
    assert steps_taken(tower, rolling) == first


def test_23_two_advances_at_once_take_one_step(
    tower: RunningTower, rolling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(tower, rolling, 400)
    looked, real = threading.Barrier(2, timeout=60), advance_rollout._act

    def act(*arguments: Any) -> str | None:
        looked.wait()  # both have judged the same stage
        return real(*arguments)

    monkeypatch.setattr(advance_rollout, "_act", act)
    with ThreadPoolExecutor(2) as both:
        runs = [both.submit(advance, rolling, tower.with_settings()) for _ in range(2)]
    refused = [error for run in runs if (error := run.exception())]
    assert [type(error) for error in refused] == [Conflict], refused
    (done,) = [run.result() for run in runs if not run.exception()]
    assert done["decision"] == "PROMOTE", done
    assert steps_taken(tower, rolling)[1:] == [f"Advance {rolling} 2 to 100 % of patients"]
    monkeypatch.undo()
    wait_arms(tower, rolling, {2: 100.0})
    assert advance(rolling, tower.tower)["decision"] is None
    assert set(ask(tower, rolling, 20).values()) == {2}


def test_a_candidate_that_is_wrong_about_its_patients_is_reverted_by_its_own_verdict(
    tower: RunningTower,
) -> None:
    name = half_way(tower, "kidney_worse")
    answered = ask(tower, name, 300)
    wait_recorded(tower, name, 300)
    tell_outcomes(tower, name, answered, wrong=2)
    wait_recorded(tower, name, 300, outcomes=True)
    told = advance(name, tower.tower)
    assert told["decision"] == "ROLLBACK", told
    wait_arms(tower, name, {1: 100.0})
    assert model_tree.release_at(tower.tower.repository, "main", name).version == 1
    subject = tower.tower.repository.log(limit=1)[0].subject
    assert subject.startswith(f"Roll back {name} from 2 to 1")
    assert set(ask(tower, name, 20).values()) == {1}
