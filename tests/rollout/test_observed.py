from __future__ import annotations

import numpy as np
import pytest

from medtower.errors import InvalidInput
from medtower.rollout.observed import Arm, Pairs


def of(subjects, **columns):
    n = len(subjects)
    given = {
        "at": np.arange(n, dtype=float),
        "failed": np.zeros(n, dtype=bool),
        "latency_ms": np.ones(n),
        "prediction": np.ones(n),
        "outcome": np.full(n, np.nan),
    }
    return Arm(version=1, subjects=np.array(list(subjects), dtype=np.str_), **(given | columns))


def test_each_patient_counts_with_the_first_request_of_those_asked_for():
    arm = of("abacba")
    assert arm.first().tolist() == [0, 1, 3]
    assert arm.first(np.array([False, False, True, True, True, True])).tolist() == [2, 3, 4]
    assert arm.first(np.zeros(6, dtype=bool)).tolist() == []
    assert of("").first().tolist() == []


def test_what_a_patient_counts_with_stays_what_it_was_at_every_later_look():
    rng = np.random.default_rng(1)
    names = "".join(rng.choice(list("abcdefgh"), 60))
    mask = rng.random(60) < 0.4
    earlier: list[int] = []
    for n in range(1, 61):
        found = of(names[:n]).first(mask[:n]).tolist()
        assert found[: len(earlier)] == earlier
        earlier = found


def test_times_may_be_seconds_or_moments():
    moments = np.array(["2026-01-01T00:00", "2026-01-01T06:00", "2026-01-03T05:00"], dtype="datetime64[s]")
    arm = of("aab", at=moments)
    assert np.diff(arm.seconds).tolist() == [6 * 3600, 47 * 3600]
    assert [day.tolist() for day in arm.days(arm.seconds[0])] == [
        [True, True, False],
        [False, False, False],
        [False, False, True],
    ]
    assert of("").days(0.0) == []


def test_an_answer_is_a_number_that_did_not_fail():
    arm = of("abc", failed=np.array([True, False, False]), prediction=np.array([0.5, np.nan, 0.5]))
    assert arm.answered.tolist() == [False, False, True]


def test_columns_of_different_length_or_out_of_order_are_refused():
    with pytest.raises(InvalidInput, match="differ in length"):
        of("abc", failed=np.zeros(2, dtype=bool))
    with pytest.raises(InvalidInput, match="order of time"):
        of("abc", at=np.array([0.0, 2.0, 1.0]))
    one, none = np.ones(1), np.zeros(1, dtype=bool)
    with pytest.raises(InvalidInput, match="the pairs"):
        Pairs(one, one, none, one, np.ones(2))
    with pytest.raises(InvalidInput, match="the pairs"):
        Pairs(one, one, none, one, one, np.array(["a", "b"]))


def test_pairs_of_one_patient_count_once_and_without_names_every_pair_counts():
    three, none = np.ones(3), np.zeros(3, dtype=bool)
    assert Pairs(three, three, none, three, three, np.array(["a", "b", "a"])).first().tolist() == [0, 1]
    assert Pairs(three, three, none, three, three).first().tolist() == [0, 1, 2]
