"""Numbers, changes and figures."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtower.domain.contract import Kpi
from medtower.domain.estimate import CalibrationReport, Estimate
from medtower.reports import comparison, figures, wording


def estimate(value: float | None, half: float = 0.02, metric: str = "f1") -> Estimate:
    low, high = (None, None) if value is None else (value - half, value + half)
    return Estimate(metric=metric, n=100, value=value, lower=low, upper=high)


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.91234, "f1", "0.912"),
        (-0.2, "r2", "−0.200"),
        (287.4, "latency_p95", "287 ms"),
        (123.44, "throughput", "123.4 1/s"),
        (4.126, "model_load", "4.13 s"),
        (None, "f1", "insufficient data"),
        (0.5, "of our own", "0.500"),
    ],
)
def test_a_number_has_its_metrics_digits_and_unit(value, metric, text):
    assert wording.number(value, metric) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not measured"),
        (1.26, "1.3 s"),
        (59.4, "59.4 s"),
        (59.94, "1 min 0 s"),
        (127.0, "2 min 7 s"),
        (119.7, "2 min 0 s"),
    ],
)
def test_seconds_are_read_as_people_say_them(value, text):
    assert wording.seconds(value) == text


def test_a_promise_points_in_its_metrics_direction():
    assert wording.promise(Kpi(target=0.9, warning=0.8, critical=0.7), "f1") == "≥ 0.9"
    assert wording.promise(Kpi(target=300, warning=400, critical=500), "latency_p95") == "≤ 300"
    assert wording.promise(None, "f1") == "none"


def test_a_share_and_a_fact_that_are_not_known_say_so():
    assert wording.percent(None) == wording.fact(None) == wording.estimate(None) == "insufficient data"
    assert wording.fact(-0.00012345) == "−0.0001234"
    assert wording.fact(7) == "7"


def test_the_change_of_two_equal_intervals_is_wider_by_the_square_root_of_two():
    found = comparison.change(estimate(0.9), estimate(0.8))
    assert found.difference == pytest.approx(0.1)
    assert found.lower == pytest.approx(0.1 - 0.02 * 2**0.5)
    assert found.upper == pytest.approx(0.1 + 0.02 * 2**0.5)


@given(*[st.floats(0, 1) for _ in range(2)], *[st.floats(0, 0.3) for _ in range(2)])
def test_a_change_lies_in_its_interval_and_turns_with_its_sides(a, b, ha, hb):
    forth, back = (
        comparison.change(estimate(a, ha), estimate(b, hb)),
        comparison.change(estimate(b, hb), estimate(a, ha)),
    )
    assert forth.lower <= forth.difference <= forth.upper
    assert forth.lower == pytest.approx(-back.upper)


def test_a_change_from_or_to_nothing_known_is_not_known():
    assert wording.difference(comparison.change(estimate(None), estimate(0.8))) == "insufficient data"
    assert wording.difference(comparison.change(estimate(0.8), estimate(None))) == "insufficient data"
    assert wording.difference(comparison.change(estimate(0.8), None)) == "no earlier version"


def zones(svg: str) -> list[tuple[str, float, float]]:
    return [
        (tone, float(x), float(x) + float(w))
        for tone, x, w in re.findall(r'zone (\w+)" x="([\d.]+)" y="0" width="([\d.]+)"', svg)
    ]


def test_the_zones_of_a_promise_run_from_bad_to_good_or_back():
    up = zones(figures.forest(estimate(0.8), Kpi(target=0.9, warning=0.85, critical=0.7)))
    down = zones(figures.forest(estimate(0.2, metric="mae"), Kpi(target=0.13, warning=0.16, critical=0.3)))
    assert [z[0] for z in up] == ["bad", "warn", "good"]
    assert [z[0] for z in down] == ["good", "warn", "bad"]
    for first, second in ((0, 1), (1, 2)):
        assert up[first][2] == pytest.approx(up[second][1], abs=0.11)
    assert up[2][2] == pytest.approx(figures.WIDTH, abs=0.11)


def test_a_figure_of_one_point_has_a_width():
    assert 'cx="120.0"' in figures.forest(estimate(0.5, 0.0), None)


def test_there_is_no_figure_without_a_number():
    assert figures.forest(estimate(None), None) == ""
    assert figures.bar(None, [0.1], "good", "x", 1.0) == ""
    assert figures.calibration(CalibrationReport(n=3, ece=None, slope=None, intercept=None)) == ""


def test_a_bar_keeps_its_bounds_in_sight_and_its_label_escaped():
    svg = figures.bar(0.1, [0.1, 0.25], "good", '<"x">', 0.5)
    assert svg.count('class="target"') == 2
    assert 'width="48.0"' in svg
    assert "&lt;&#34;x&#34;&gt;" in svg
