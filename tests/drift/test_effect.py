"""The population stability index: numbers worked out by hand, bins that behave."""

from __future__ import annotations

import numpy as np
import pytest

from medtower.drift.effect import bin_counts, level_counts, psi


def test_psi_by_hand() -> None:
    p, q = np.array([99.5, 99.5]), np.array([149.5, 49.5])
    expected = ((q / q.sum() - p / p.sum()) * np.log((q / q.sum()) / (p / p.sum()))).sum()
    assert psi(p - 0.5, q - 0.5) == pytest.approx(expected) == pytest.approx(0.277720, abs=1e-6)


def test_psi_of_the_same_distribution_is_zero_and_of_disjoint_ones_finite() -> None:
    counts = np.array([10.0, 20, 0, 30])
    assert psi(counts, counts) == 0
    assert 5 < psi(np.array([1000.0, 0]), np.array([0.0, 1000])) < 20


def test_bins_are_deciles_of_the_reference() -> None:
    before, now = bin_counts(np.arange(1000.0), np.arange(500.0, 1500.0))
    assert before.tolist() == [100.0] * 10 + [0.0]
    assert now.tolist() == [0.0] * 5 + [100.0] * 4 + [600.0, 0.0]


def test_missing_values_have_a_bin_of_their_own() -> None:
    before, now = bin_counts(np.append(np.arange(1000.0), [np.nan] * 7), np.full(5, np.nan))
    assert before[-1] == 7
    assert now.tolist() == [0.0] * 10 + [5.0]


def test_a_value_that_holds_many_rows_has_a_bin_of_its_own() -> None:
    before, now = bin_counts(np.append(np.zeros(600), np.arange(1.0, 401.0)), np.array([-1.0, 0, 0, 0.5]))
    assert before[:2].tolist() == [0.0, 600.0]
    assert now[:3].tolist() == [1.0, 2.0, 1.0]


def test_a_constant_reference_still_tells_both_sides_apart() -> None:
    before, now = bin_counts(np.full(10, 5.0), np.array([4.0, 5.0, 6.0, 6.0]))
    assert before.tolist() == [0.0, 10.0, 0.0, 0.0]
    assert now.tolist() == [1.0, 1.0, 2.0, 0.0]


def test_a_reference_without_values_has_one_bin() -> None:
    before, now = bin_counts(np.full(3, np.nan), np.array([1.0, 2.0]))
    assert (before.tolist(), now.tolist()) == ([0.0, 3.0], [2.0, 0.0])


def test_infinity_does_no_harm() -> None:
    before, now = bin_counts(np.append(np.arange(100.0), [np.inf] * 100), np.array([np.inf, -np.inf]))
    assert before.sum() == 200
    assert now.sum() == 2


def test_levels_are_counted_with_others_and_missing() -> None:
    assert level_counts(np.array([0.0, 1, 1, 7, -1, 0.5, np.nan]), 3).tolist() == [1, 2, 0, 3, 1]
