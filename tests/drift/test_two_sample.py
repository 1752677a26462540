"""The batched tests against scipy's own, one column at a time, and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medtower.drift.two_sample import chi_square, kolmogorov_smirnov, missing_rate, varies


def test_kolmogorov_smirnov_agrees_with_scipy_on_gaps_and_ties() -> None:
    draw = np.random.default_rng(7)
    before, now = draw.normal(0, 1, (600, 3)), draw.normal([0.0, 0.15, 0.0], 1, (450, 3))
    before[draw.random(before.shape) < 0.2] = np.nan
    before[:, 2], now[:, 2] = np.round(before[:, 2]), np.round(now[:, 2])
    result = kolmogorov_smirnov(before, now)
    for k in range(3):
        expected = stats.ks_2samp(before[~np.isnan(before[:, k]), k], now[:, k], method="exact")
        assert result.statistic[k] == pytest.approx(expected.statistic, abs=1e-12)
        assert result.p_value[k] == pytest.approx(expected.pvalue, rel=0.06)


def test_kolmogorov_smirnov_by_hand() -> None:
    result = kolmogorov_smirnov(
        np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([[3.0], [4.0], [5.0], [6.0]])
    )
    assert result.statistic[0] == pytest.approx(0.5)
    assert result.p_value[0] == pytest.approx(0.5344157)  # Q((√2 + 0.12 + 0.11/√2) · 0.5)


def test_kolmogorov_smirnov_of_nothing_is_not_a_number() -> None:
    empty, some, same = np.full((5, 1), np.nan), np.arange(5.0)[:, None], np.ones((5, 1))
    for before, now in ((empty, some), (some, empty), (empty, empty), (same, same)):
        assert np.isnan(kolmogorov_smirnov(before, now)).all()


def test_chi_square_agrees_with_scipy() -> None:
    before, now = np.array([120.0, 60, 20]), np.array([90.0, 80, 30])
    expected = stats.chi2_contingency(np.stack([before, now]), correction=False)
    result = chi_square(before, now)
    assert result.statistic[0] == pytest.approx(expected.statistic)
    assert result.p_value[0] == pytest.approx(expected.pvalue)


def test_chi_square_pools_rare_levels_until_they_carry_weight() -> None:
    pooled = chi_square(np.array([500.0, 400, 3, 4, 1, 0]), np.array([480.0, 410, 2, 1, 0, 5]))
    expected = stats.chi2_contingency([[500, 400, 8], [480, 410, 8]], correction=False)
    assert pooled.statistic[0] == pytest.approx(expected.statistic)


def test_chi_square_needs_two_levels_and_two_windows() -> None:
    for before, now in (
        ([9.0, 0], [9.0, 0]),
        ([0.0, 0], [9.0, 3]),
        ([0.0, 0], [0.0, 0]),
        ([999.0, 1], [998.0, 0]),
    ):
        assert np.isnan(chi_square(np.array(before), np.array(now))).all()


def test_missing_rate_by_hand() -> None:
    before, now = np.zeros((100, 3)), np.zeros((100, 3))
    before[:10, 0], now[:20, 0] = np.nan, np.nan
    before[:, 2], now[:, 2] = np.nan, np.nan
    result = missing_rate(before, now)
    assert result.statistic[0] == pytest.approx(0.1 / np.sqrt(0.15 * 0.85 * 0.02))
    assert result.p_value[0] == pytest.approx(2 * stats.norm.sf(1.980295), rel=1e-5)
    assert np.isnan(result.p_value[1:]).all()


def test_only_different_values_vary() -> None:
    assert varies(np.array([[1.0, 1, np.nan], [1.0, 2, np.nan], [np.nan, 1, np.nan]])).tolist() == [
        False,
        True,
        False,
    ]
