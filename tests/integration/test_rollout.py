"""A rollout on the real tower: patients through the gateway, verdicts from the record, steps and a revert as commits, obeyed by the reconciler."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.fixtures.tower import RunningTower

from medtower.adapters.postgres.rollout_record import RolloutRecord
from medtower.local.health import poll
from medtower.serving import routing
from medtower.workflows import model_tree
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


@pytest.fixture
def half_way(tower: RunningTower, request: pytest.FixtureRequest) -> str:
    """A model whose version 1 serves and whose version 2 is at its first stage, half of the patients."""
    name = f"kidney_{request.param}"
    tower.publish(name, rollout=PLAN)
    for version in (1, 2):
        train(tower.tower, name, reason="a test")
        tower.promote(name, version, emergency=False)
        wait_arms(tower, name, {1: 100.0} if version == 1 else {1: 50.0, 2: 50.0})
    return name


@pytest.mark.parametrize("half_way", ["steps"], indirect=True)
def test_a_rollout_holds_without_traffic_and_advances_on_the_evidence_of_both_arms(
    tower: RunningTower, half_way: str
) -> None:
    name = half_way
    first = advance(name, tower.tower)
    assert first["decision"] == "HOLD" and first["commit"] is None
    answered = ask(tower, name, 400)
    assert set(answered.values()) == {1, 2}
    wait_recorded(tower, name, 400)
    then = advance(name, tower.tower)
    assert then["decision"] == "PROMOTE", then
    wait_arms(tower, name, {2: 100.0})
    assert advance(name, tower.tower)["decision"] is None
    subjects = ask(tower, name, 20)
    assert set(subjects.values()) == {2}


@pytest.mark.parametrize("half_way", ["worse"], indirect=True)
def test_a_candidate_that_is_wrong_about_its_patients_is_reverted_by_its_own_verdict(
    tower: RunningTower, half_way: str
) -> None:
    name = half_way
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
