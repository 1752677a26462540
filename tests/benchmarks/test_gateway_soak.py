"""How the soak plans and counts; that it runs on the real parts is tested in tests/integration/test_soak.py."""

from __future__ import annotations

from collections import Counter

import pytest
from benchmarks.gateway_soak import KEYS, Seen, compared, disturbances


def test_an_acknowledged_prediction_that_is_not_stored_is_lost() -> None:
    counts = compared(Seen(acknowledged={"a": 0.5, "b": 0.25}), [("a", 0.5)])
    assert {key: counts[key] for key in KEYS} == {"acknowledged": 2, "stored": 1, "lost": 1, "duplicates": 0}


def test_a_prediction_that_is_stored_with_another_value_is_lost() -> None:
    counts = compared(Seen(acknowledged={"a": 0.5}), [("a", 0.6)])
    assert (counts["stored"], counts["lost"]) == (0, 1)


def test_a_request_id_that_is_stored_twice_is_a_duplicate() -> None:
    counts = compared(Seen(acknowledged={"a": 0.5}), [("a", 0.5), ("a", 0.5), ("b", 0.1), ("b", 0.1)])
    assert (counts["duplicates"], counts["lost"]) == (2, 0)


def test_what_was_kept_without_an_acknowledgement_and_what_was_refused_is_said() -> None:
    counts = compared(Seen(refused=Counter({"503": 3}), sent=4, repeated=2), [("a", 0.5)])
    assert counts["stored_without_being_acknowledged"] == 1
    assert counts["not_answered_(503)"] == 3
    assert (counts["sent"], counts["asked_again_after_a_broken_connection"]) == (4, 2)


def test_ten_minutes_hold_five_kills_two_restarts_and_postgres_is_away_for_the_middle() -> None:
    planned = disturbances(600)
    assert Counter(what for _, what in planned) == {
        "kill gateway": 5,
        "restart triton": 2,
        "stop postgres": 1,
        "start postgres": 1,
    }
    at = [second for second, _ in planned]
    assert at == sorted(at)
    assert at[-1] < 600
    away = {what: second for second, what in planned if "postgres" in what}
    assert away == {"stop postgres": pytest.approx(240), "start postgres": pytest.approx(360)}
    assert any(what == "kill gateway" and 240 < second < 360 for second, what in planned)
