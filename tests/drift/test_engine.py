"""The drift engine: exact values on seeded windows, no alarm without drift, every kind of planted drift found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medtower.domain.drift import Severity
from medtower.errors import InvalidInput

from .conftest import Floats, contract_of, finding, numbers, report, window


def test_exact_values_on_seeded_windows() -> None:
    before, now = window(2000, seed=1), window(500, seed=2)
    now[:, 0] += 6
    now[:, 3] = 1 - now[:, 3]
    drift = report(contract_of(), before, now)
    assert (drift.model, drift.version) == ("sample_risk", 3)
    assert [f.feature for f in drift.findings] == ["age", "biomarker", "stage", "smoker", "prediction"]
    assert [f.severity for f in drift.findings] == ["severe", "none", "none", "severe", "none"]
    ages = stats.ks_2samp(before[:, 0], now[:, 0], method="asymp")
    assert finding(drift, "age").test == "Kolmogorov–Smirnov"
    assert finding(drift, "age").statistic == pytest.approx(ages.statistic)
    table = [[(w[:, 3] == level).sum() for level in (0, 1)] for w in (before, now)]
    assert finding(drift, "smoker").test == "chi-square"
    assert finding(drift, "smoker").statistic == pytest.approx(
        stats.chi2_contingency(table, correction=False).statistic
    )
    assert {f.feature for f in drift.drifted} == {"age", "smoker"}
    assert (finding(drift, "age").n_reference, finding(drift, "age").n_current) == (2000, 500)
    assert finding(drift, "biomarker").n_current == int((~np.isnan(now[:, 1])).sum()) < 500


def test_the_q_value_is_benjamini_hochberg_over_all_features() -> None:
    drift = report(contract_of(), window(1000, seed=1), window(1000, seed=2))
    p = [f.p_value for f in drift.findings]
    assert [f.q_value for f in drift.findings] == pytest.approx(stats.false_discovery_control(p))


def test_distribution_and_missing_rate_share_one_p_value() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    one = finding(report(contract_of(), before, now), "biomarker")
    kept = [w[~np.isnan(w[:, 1]), 1] for w in (before, now)]
    by_value = stats.ks_2samp(*kept, method="asymp").pvalue
    gaps = [1000 - len(k) for k in kept]
    by_gap = stats.chi2_contingency([gaps, [len(k) for k in kept]], correction=False).pvalue
    assert one.p_value == pytest.approx(min(1, 2 * min(by_value, by_gap)), rel=0.05)


def test_19_a_constant_column_has_no_variance() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    before[:, [0, 2, 3]], now[:, [0, 2, 3]] = 60, 60
    before[:, 3], now[:, 3] = 1, 1
    before[:, 2], now[:, 2] = 1, 1
    drift = report(contract_of(), before, now)
    for feature in ("age", "stage", "smoker"):
        one = finding(drift, feature)
        assert one.severity is Severity.NO_VARIANCE
        assert (one.statistic, one.p_value, one.q_value, one.effect) == (None, None, None, None)


def test_19_an_empty_column_has_no_variance() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    before[:, 1:3], now[:, 1:3] = np.nan, np.nan
    drift = report(contract_of(), before, now)
    assert finding(drift, "biomarker").severity is Severity.NO_VARIANCE
    assert finding(drift, "stage").severity is Severity.NO_VARIANCE
    assert finding(drift, "biomarker").n_current == 0


def test_a_constant_column_with_as_many_gaps_as_before_has_no_variance() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    for x in (before, now):
        x[~np.isnan(x[:, 1]), 1] = 5
    one = finding(report(contract_of(), before, now), "biomarker")
    assert (one.severity, one.test) == (Severity.NO_VARIANCE, "missing rate")


@pytest.mark.parametrize("column", ["age", "biomarker"])
def test_a_sensor_that_got_stuck_has_drifted(column: str) -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    now[:, ["age", "biomarker"].index(column)] = 60
    assert finding(report(contract_of(), before, now), column).severity is Severity.SEVERE


def test_a_sensor_that_fell_silent_has_drifted() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    now[:, 1] = np.nan
    one = finding(report(contract_of(), before, now), "biomarker")
    assert (one.severity, one.test, one.n_current) == (Severity.SEVERE, "missing rate", 0)


def test_a_constant_that_changed_has_drifted() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    before[:, 0], now[:, 0] = 60, 61
    assert finding(report(contract_of(), before, now), "age").severity is Severity.SEVERE


def test_a_category_unseen_in_the_reference_is_found() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    now[:250, 2] = 3  # `end`, which the reference never has
    one = finding(report(contract_of(), before, now), "stage")
    assert one.severity is Severity.SEVERE
    now[:250, 2] = 17  # not even in the contract
    assert finding(report(contract_of(), before, now), "stage").statistic == pytest.approx(one.statistic)


def test_a_shift_of_the_prediction_is_found() -> None:
    drift = report(contract_of(), window(1000, seed=1), window(1000, seed=2), shift=0.2)
    assert [f.feature for f in drift.drifted] == ["prediction"]


def test_too_few_rows_say_insufficient_data_and_nothing_else() -> None:
    for before, now in (
        (window(1000, seed=1), window(199, seed=2) + 50),
        (window(199, seed=1), window(1000, seed=2)),
        (np.empty((0, 4)), np.empty((0, 4))),
    ):
        drift = report(contract_of(), before, now)
        assert {f.severity for f in drift.findings} == {Severity.INSUFFICIENT}
        assert {f.p_value for f in drift.findings} == {None}


def test_too_few_values_in_enough_rows_are_insufficient_unless_their_rate_changed() -> None:
    before, now = window(1000, seed=1), window(1000, seed=2)
    before[150:, 1], now[150:, 1] = np.nan, np.nan
    assert finding(report(contract_of(), before, now), "biomarker").severity is Severity.INSUFFICIENT
    now[20:, 1] = np.nan
    one = finding(report(contract_of(), before, now), "biomarker")
    assert (one.severity, one.test) == (Severity.SEVERE, "missing rate")


def test_a_certain_but_small_shift_is_no_alarm() -> None:
    draw = np.random.default_rng(3)
    before, now = draw.normal(0, 1, (50_000, 1)), draw.normal(0.05, 1, (50_000, 1))
    one = finding(report(contract_of(numbers(1)), before, now), "marker_0")
    assert one.q_value is not None
    assert one.q_value < 1e-6
    assert one.effect is not None
    assert one.effect < 0.1
    assert one.severity is Severity.NONE


def test_severity_follows_the_contract_s_bounds() -> None:
    draw = np.random.default_rng(3)
    before, now = draw.normal(0, 1, (5000, 1)), draw.normal(0.4, 1, (5000, 1))
    assert report(contract_of(numbers(1)), before, now).findings[0].severity is Severity.MODERATE
    strict = contract_of(numbers(1), psi_severe=0.12)
    assert report(strict, before, now).findings[0].severity is Severity.SEVERE


def mixed(n: int, draw: np.random.Generator) -> Floats:
    x = np.column_stack(
        [
            draw.integers(40, 90, n),
            draw.gamma(4, 30, n),
            draw.choice(4, n, p=[0.5, 0.3, 0.19, 0.01]),
            draw.random(n) < 0.3,
        ]
    ).astype(np.float64)
    x[draw.random(n) < 0.1, 1] = np.nan
    x[draw.random(n) < 0.1, 2] = np.nan
    return x


def test_without_drift_a_rejection_is_as_rare_as_promised() -> None:
    """Under the null every rejection is false, so the false discovery rate is the chance of any rejection in a report: at most 0.05.

    400 seeded reports: with that chance exactly 0.05 more than 31 of them come up with probability below 0.01 (binomial).
    The contract's bound on PSI is next to zero here, so that q alone decides.
    """
    contract, draw, reports = contract_of(psi_moderate=1e-9, psi_severe=1.0), np.random.default_rng(11), 400
    bound = int(stats.binom.ppf(0.99, reports, 0.05))
    rejected = sum(
        bool(report(contract, mixed(600, draw), mixed(300, draw), seed=k).drifted) for k in range(reports)
    )
    assert bound == 31
    assert 2 <= rejected <= bound


def test_a_planted_shift_is_found_with_power_among_many_features_that_did_not_move() -> None:
    contract, draw, found, false = contract_of(numbers(40)), np.random.default_rng(12), 0, 0
    for _ in range(50):
        before, now = draw.normal(0, 1, (1000, 40)), draw.normal(0, 1, (300, 40))
        now[:, 7] += 0.6
        drifted = [f.feature for f in report(contract, before, now).drifted]
        found += "marker_7" in drifted
        false += len(drifted) - ("marker_7" in drifted)
    assert found >= 48
    # one true and one false alarm make a false share of 1/2: a rate of 0.05 lets at most 1 in 10 reports have one
    assert false <= stats.binom.ppf(0.99, 50, 0.1)


def test_nothing_that_comes_out_is_nan() -> None:
    hostile = np.full((300, 4), np.nan)
    hostile[:150, 0], hostile[150:, 0] = np.inf, -np.inf
    hostile[0, 1] = 1e300
    hostile[:, 2] = -5
    for before, now in ((hostile, window(300, seed=1)), (window(300, seed=1), hostile), (hostile, hostile)):
        for one in report(contract_of(), before, now).findings:
            assert all(
                v is None or math.isfinite(v) for v in (one.statistic, one.p_value, one.q_value, one.effect)
            )


def test_windows_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"shape \(300, 3\).*give \[n, 4\]"):
        report(contract_of(), window(300, seed=1)[:, :3], window(300, seed=2))
