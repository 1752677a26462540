"""What a load client printed, as numbers of the table."""

from __future__ import annotations

import shutil

import pytest
from benchmarks.gateway_peers import wrk
from benchmarks.gateway_peers.load import Load, measured, parse
from benchmarks.gateway_peers.process import Unusable

OUTPUT = """Running 2s test @ http://127.0.0.1:8000/v2/models/bench_network/infer
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.65ms  553.04us  20.04ms   87.03%
  19443 requests in 2.00s, 5.06MB read
Requests/sec:   9716.84
measured {"requests": 19443, "errors": 2, "seconds": 2.000960, "p50": 1543.0, "p95": 2250.0, "p99": 3100.5}
"""


def test_the_line_of_the_script_is_read_and_wrks_own_lines_are_not() -> None:
    load = parse(OUTPUT)
    assert load == Load(19443, 2, pytest.approx(9716.8, abs=0.1), 1.543, 2.25, 3.1005)


def test_an_output_without_a_measurement_is_an_error_and_no_zero() -> None:
    with pytest.raises(ValueError, match="measured nothing"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_an_entry_holds_the_median_of_each_number_over_the_rounds() -> None:
    alone = [Load(100, 0, 50, p50, p50 + 1, p99) for p50, p99 in ((1.0, 9.0), (3.0, 4.0), (2.0, 30.0))]
    crowd = [Load(100, 0, rps, 1, 1, 1) for rps in (500.0, 900.0, 700.0)]
    assert measured(alone, crowd, [80.0, 100.0, 90.0], "1.2.3") == {
        "rps_c16": 700.0,
        "p50_c1_ms": 2.0,
        "p95_c1_ms": 3.0,
        "p99_c1_ms": 9.0,
        "rss_mb": 90.0,
        "version": "1.2.3",
    }


def test_without_wrk_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(Unusable, match="apt-get install wrk"):
        wrk.found()
