from __future__ import annotations

import numpy as np

from medtower.evaluation.latency import latency
from medtower.statistics.quantile import quantile_interval
from medtower.workflows import service_levels, track


def test_the_quantiles_have_the_intervals_of_order_statistics():
    values = np.random.default_rng(3).lognormal(3, 0.4, 2000)
    for estimate, q in zip(latency(values), (0.95, 0.99), strict=True):
        assert (estimate.value, estimate.lower, estimate.upper) == quantile_interval(values, q)
        assert (estimate.n, estimate.metric) == (2000, f"latency_p{100 * q:.0f}")


def test_a_quantile_that_so_few_cannot_bound_has_no_value():
    p95, p99 = latency([10.0] * 100)
    assert (p95.value, p95.n) == (10.0, 100)
    assert (p99.value, p99.lower, p99.upper, p99.n) == (None, None, None, 100)
    assert [e.n for e in latency([])] == [0, 0]


def test_the_benchmark_and_tracking_measure_latency_through_this_one_door():
    assert service_levels.latency is track.latency is latency
