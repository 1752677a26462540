from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from tests.gateway.conftest import Gateway, publish

from medtower.errors import Unavailable
from medtower.gateway.routing_file import RoutingFile
from medtower.settings import Settings


def test_a_new_table_counts_from_the_next_request_on(gateway: Gateway) -> None:
    assert gateway.ask().json()["version"] == 1
    gateway.publish(demo_risk={2: 100})
    assert gateway.ask().json()["version"] == 2


def test_patients_stay_with_their_arm_over_the_steps_of_a_rollout(gateway: Gateway) -> None:
    inside: set[str] = set()
    for percent in (5, 25, 100):
        gateway.publish(demo_risk={1: 100 - percent, 2: percent} if percent < 100 else {2: 100})
        served = {f"s{n}": gateway.ask(subject_id=f"s{n}").json()["version"] for n in range(60)}
        now_inside = {subject for subject, version in served.items() if version == 2}
        assert inside <= now_inside
        inside = now_inside
    assert len(inside) == 60


def test_a_released_nothing_is_503_with_its_reason(gateway: Gateway) -> None:
    gateway.publish(demo_risk={})
    answer = gateway.ask()
    assert (answer.status_code, answer.json()["error"]) == (503, "UNAVAILABLE")
    assert "withdrawn after an incident" in answer.json()["message"]
    assert gateway.ask("demo_score").status_code == 404


def test_a_version_dropped_between_choice_and_call_fails_no_request(gateway: Gateway) -> None:
    def swap(version: int) -> None:
        if version == 1 and 1 in gateway.triton.versions:
            gateway.publish(demo_risk={2: 100})
            gateway.triton.versions = {2}

    gateway.triton.before = swap
    answer = gateway.ask()
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    assert gateway.recorded()[0].version == 2
    assert gateway.metric('medtower_requests_total{code="200",model="demo_risk",version="2"}') == 1


def test_a_version_that_triton_never_had_is_503_after_one_more_try(gateway: Gateway) -> None:
    asked: list[int] = []
    gateway.triton.versions, gateway.triton.before = set(), asked.append
    answer = gateway.ask()
    assert answer.status_code == 503
    assert "does not serve it" in answer.json()["message"]
    assert asked == [1, 1]


def test_no_request_fails_while_routing_swings_to_and_fro(gateway: Gateway) -> None:
    codes: Counter[int] = Counter()

    def ask(worker: int) -> None:
        for n in range(40):
            codes[gateway.ask(subject_id=f"s{worker}-{n}").status_code] += 1

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for n in range(30):
        new = 1 + n % 2
        gateway.triton.versions |= {new}
        gateway.publish(demo_risk={new: 100})
        gateway.triton.versions = {new}
    gateway.triton.versions = {1, 2}
    for thread in threads:
        thread.join()
    assert codes == {200: 160}


def test_a_broken_file_keeps_the_last_good_table_and_is_logged_once(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.ask()
    path = gateway.settings.path("routing")
    path.write_text('{"commit": ')
    assert [gateway.ask().json()["version"] for _ in range(3)] == [1, 1, 1]
    path.unlink()
    assert gateway.ask().json()["version"] == 1
    complaints = [r for r in caplog.records if "routing table" in r.getMessage()]
    assert len(complaints) == 2
    assert complaints[0].__dict__["commit"] == "c0ffee"
    gateway.publish(demo_risk={2: 100})
    assert gateway.ask().json()["version"] == 2


def test_without_a_table_it_is_not_ready_and_says_why(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path / "routing.json")
    with pytest.raises(Unavailable, match="not published yet"):
        file.table()
    assert file.age(0) == float("inf")
    (tmp_path / "routing.json").write_text("[]")
    with pytest.raises(Unavailable, match="not a routing table"):
        file.table()


def test_a_change_that_keeps_size_and_time_is_seen_by_its_inode(settings: Settings) -> None:
    path = settings.path("routing")
    publish(settings, demo_risk={1: 100})
    file = RoutingFile(path)
    assert file.route("demo_risk").arms[0].version == 1
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    publish(settings, demo_risk={2: 100})
    os.utime(path, ns=times)
    assert file.route("demo_risk").arms[0].version == 2


def test_touching_the_file_confirms_it(settings: Settings) -> None:
    publish(settings, demo_risk={1: 100})
    file = RoutingFile(settings.path("routing"))
    os.utime(settings.path("routing"), (1000, 1000))
    assert file.age(1060) == 60
