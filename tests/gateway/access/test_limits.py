from __future__ import annotations

import pytest

from medtower.gateway.access.limits import Buckets, network


def test_tokens_flow_in_at_the_rate_and_no_more_than_the_burst_are_kept() -> None:
    buckets = Buckets()
    assert [buckets.take("a", 8, 2, 100.0) for _ in range(3)] == [0, 0, 0.125]
    assert buckets.take("a", 8, 2, 100.125) == 0
    assert [buckets.take("a", 8, 2, 200.0) for _ in range(3)] == [0, 0, 0.125]


def test_who_is_refused_pays_nothing_for_asking() -> None:
    buckets = Buckets()
    buckets.take("a", 1, 1, 0.0)
    waits = [buckets.take("a", 1, 1, tick / 10) for tick in range(1, 10)]
    assert waits == [pytest.approx(1 - tick / 10) for tick in range(1, 10)]
    assert buckets.take("a", 1, 1, 1.0001) == 0


def test_what_comes_in_many_takes_as_many() -> None:
    buckets = Buckets()
    assert buckets.take("a", 8, 10, 100.0) == 0
    assert buckets.take_more("a", 5, 100.0) == 0
    assert buckets.take("a", 8, 10, 100.0) == 0
    assert buckets.take_more("a", 5, 100.0) == pytest.approx(3 / 8)  # 3 are there, and the next try wants 6
    assert buckets.take("a", 8, 10, 100.375) == 0
    assert buckets.take_more("a", 5, 100.375) == 0
    assert buckets.take("a", 8, 10, 100.375) == 0.125


def test_what_is_larger_than_the_bucket_wants_it_full_and_owes_the_rest() -> None:
    buckets = Buckets()
    assert buckets.take("a", 1, 3, 0.0) == 0
    assert buckets.take_more("a", 9, 0.0) == 0
    assert buckets.take("a", 1, 3, 0.0) == 8.0
    assert buckets.take("a", 1, 3, 9.0) == 0
    assert buckets.take_more("a", 9, 9.0) == 2.0
    assert buckets.take("a", 1, 3, 11.0) == 0
    assert buckets.take_more("a", 9, 11.0) == 0


def test_a_clock_that_goes_back_gives_nothing_away_and_locks_nobody_out() -> None:
    buckets = Buckets()
    buckets.take("a", 1, 1, 1000.0)
    assert buckets.take("a", 1, 1, 0.0) == pytest.approx(1.0)
    assert buckets.take("a", 1, 1, 1.1) == 0


def test_the_table_is_bounded_and_forgets_whom_it_saw_least_lately() -> None:
    buckets = Buckets(most=3)
    for name in "abc":
        buckets.take(name, 1, 1, 0.0)
    assert buckets.take("a", 1, 1, 0.0) > 0
    buckets.take("d", 1, 1, 0.0)
    assert len(buckets) == 3
    assert buckets.take("a", 1, 1, 0.0) > 0
    assert buckets.take("b", 1, 1, 0.0) == 0  # it was forgotten


@pytest.mark.parametrize(
    ("peer", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("testclient", "", True),
    ],
)
def test_an_address_of_ipv6_is_its_network(peer: str, other: str, same: bool) -> None:
    assert (network(peer) == network(other)) is same
