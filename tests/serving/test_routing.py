from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.gateway.conftest import contracts

from medtower.domain.routing import Arm, Route, RoutingTable, Shadow, format_shares, parse_shares, shares
from medtower.errors import NotFound, Unavailable
from medtower.serving.pseudonym import pseudonym
from medtower.serving.routing import choose, publish, read

CONTRACT = contracts()[0]
OLD, NEW, THIRD = "a" * 64, "b" * 64, "c" * 64
SUBJECTS = [f"{n:064x}" for n in range(20_000)]


def route(*arms: tuple[int, str, float]) -> Route:
    return Route(
        model="demo_risk",
        arms=[
            Arm(name="candidate" if place else "current", version=v, digest=d, weight=w, contract=CONTRACT)
            for place, (v, d, w) in enumerate(arms)
        ],
    )


def rollout(percent: float) -> Route:
    return route((1, OLD, 100 - percent), (2, NEW, percent)) if percent < 100 else route((2, NEW, 100))


def table(commit: str, percent: float = 50) -> RoutingTable:
    return RoutingTable(
        commit=commit, published_at=datetime(2026, 1, 31, tzinfo=UTC), routes={"demo_risk": rollout(percent)}
    )


@pytest.mark.untraced
def test_of_a_hundred_thousand_patients_nobody_leaves_the_candidate_while_it_grows() -> None:
    patients = [pseudonym(b"a key", f"subject-{n}") for n in range(100_000)]
    inside: set[str] = set()
    for percent in (5, 10, 25, 50, 100):
        now_inside = {s for s in patients if choose(rollout(percent), s).version == 2}
        assert inside <= now_inside
        # six standard errors of a share
        assert len(now_inside) / len(patients) == pytest.approx(percent / 100, abs=0.0095)
        inside = now_inside
    assert len(inside) == len(patients)


def test_a_candidate_with_a_lower_version_is_nested_as_well() -> None:
    inside: set[str] = set()
    for percent in (5, 10, 25, 50):
        stage = route((7, OLD, 100 - percent), (3, NEW, percent))
        now_inside = {s for s in SUBJECTS if choose(stage, s).version == 3}
        assert inside <= now_inside
        inside = now_inside


def test_a_third_arm_grows_without_giving_anyone_back() -> None:
    before = route((1, OLD, 60), (2, NEW, 30), (3, THIRD, 10))
    after = route((1, OLD, 40), (2, NEW, 30), (3, THIRD, 30))
    moves = Counter((choose(before, s).version, choose(after, s).version) for s in SUBJECTS)
    assert not any(moves[(3, other)] for other in (1, 2))
    assert not moves[(2, 1)]
    assert sum(n for (_, to), n in moves.items() if to == 3) / len(SUBJECTS) == pytest.approx(0.3, abs=0.01)


def test_the_order_of_the_arms_does_not_matter() -> None:
    forward, backward = route((1, OLD, 70), (2, NEW, 30)), route((2, NEW, 30), (1, OLD, 70))
    assert all(choose(forward, s).version == choose(backward, s).version for s in SUBJECTS[:2000])


def test_another_candidate_gets_other_patients() -> None:
    first = {s for s in SUBJECTS if choose(route((1, OLD, 90), (2, NEW, 10)), s).version == 2}
    second = {s for s in SUBJECTS if choose(route((1, OLD, 90), (3, THIRD, 10)), s).version == 3}
    assert len(first & second) / len(first) < 0.25


def test_a_route_without_arms_says_why() -> None:
    with pytest.raises(Unavailable, match="withdrawn after an incident"):
        choose(Route(model="demo_risk", reason="withdrawn after an incident"), "s")
    with pytest.raises(Unavailable, match="no version of it is ready"):
        choose(Route(model="demo_risk"), "s")


def test_a_published_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "routing.json"
    publish(path, table("one"))
    assert read(path) == table("one")
    assert [p.name for p in path.parent.iterdir()] == ["routing.json"]


def test_a_missing_table_is_not_found_and_a_broken_one_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    with pytest.raises(NotFound, match="the reconciler publishes it"):
        read(path)
    path.write_text('{"commit": "x", "published_at": "2026-01-31T00:00:00Z", "routes": {"demo_risk": 3}}')
    with pytest.raises(Unavailable, match=r"routes\.demo_risk"):
        read(path)
    path.write_text("{")
    with pytest.raises(Unavailable, match="not a routing table"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Unavailable, match="cannot be read"):
        read(path)


def test_no_reader_ever_sees_half_a_table(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    publish(path, table("0"))
    ended = threading.Event()

    def write() -> None:
        for n in range(100):
            publish(path, table(str(n) * (1 + n % 7), 1 + n % 99))
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not ended.is_set():
        assert read(path).routes["demo_risk"].arms
        reads += 1
    writer.join()
    assert reads > 10


def test_a_route_that_nobody_could_read_back_is_withheld_and_the_others_are_published(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    endless = CONTRACT.inputs[0].model_copy(update={"range": (float("-inf"), float("inf"))})
    broken = CONTRACT.model_copy(update={"inputs": [endless, *CONTRACT.inputs[1:]]})
    arm = Arm.model_construct(name="v1", version=1, digest=OLD, weight=100.0, contract=broken)
    bad = Route.model_construct(model="endless_model", arms=[arm], reason="")
    half = Route.model_construct(model="half_model", arms=[], reason="\ud800")
    routes = {"demo_risk": rollout(50), "endless_model": bad, "half_model": half}
    withheld = publish(path, table("one").model_copy(update={"routes": routes}))
    assert set(withheld) == {"endless_model", "half_model"}
    published = read(path).routes
    assert published["demo_risk"] == rollout(50)
    assert published["endless_model"].arms == []
    assert "cannot be written as JSON" in published["endless_model"].reason


def test_a_table_that_cannot_be_read_back_as_a_whole_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    publish(path, table("good"))
    with pytest.raises(Unavailable, match="cannot be read back"):
        publish(path, table("one").model_copy(update={"commit": "\ud800"}))
    assert read(path).commit == "good"


def test_a_failed_publication_leaves_the_old_table_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "routing.json"
    publish(path, table("good"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        publish(path, table("never"))
    assert read(path).commit == "good"
    assert len(list(tmp_path.iterdir())) == 1


def test_shares_are_written_and_read_back_exactly() -> None:
    shadowed = Route(
        model="demo_risk",
        arms=route((1, OLD, 100)).arms,
        shadow=Shadow(version=2, digest=NEW, contract=CONTRACT),
    )
    for found, text in (
        (rollout(5), "current:1@95,candidate:2@5"),
        (rollout(33.3), f"current:1@{100 - 33.3},candidate:2@33.3"),
        (rollout(100), "current:2@100"),
        (shadowed, "current:1@100,shadow:2@0"),
        (Route(model="demo_risk", reason="none"), ""),
    ):
        assert format_shares(shares(found)) == text
        assert parse_shares(text) == shares(found)
    assert shares(None) == ()
    assert (shadowed.newest, shadowed.versions) == (2, {1, 2})
    for wrong in ("current", "current:1@", "current:0@100", "other:1@100", "current:1@100,", "current:1@-5"):
        with pytest.raises(ValueError, match="ARM:VERSION@PERCENT"):
            parse_shares(wrong)
