"""Test every input and the model's own output for drift between a reference and a current window. No labels are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from medtower.domain.contract import Contract, Drift
from medtower.domain.drift import DriftFinding, DriftReport, Severity
from medtower.drift.effect import bin_counts, level_counts, psi
from medtower.drift.features import Feature, summarised
from medtower.drift.features import features as features_of
from medtower.drift.two_sample import Result, chi_square, kolmogorov_smirnov, missing_rate, present, varies
from medtower.errors import InvalidInput
from medtower.statistics.multiplicity import benjamini_hochberg

Floats = NDArray[np.float64]
PREDICTION = "prediction"
KS, CHI_SQUARE, MISSING = "Kolmogorov–Smirnov", "chi-square", "missing rate"


@dataclass(frozen=True)
class Deciding:
    """The test that decides about one feature; p NaN: none could be made. `distribution`: its values were tested, not only its gaps."""

    name: str
    statistic: float
    p_value: float
    distribution: bool


def run(
    contract: Contract,
    reference: NDArray[np.floating],
    current: NDArray[np.floating],
    *,
    reference_prediction: NDArray[np.floating],
    current_prediction: NDArray[np.floating],
    version: int,
    window_start: datetime,
    window_end: datetime,
) -> DriftReport:
    """Return one finding for each feature (`drift.features`), in the contract's order, and one for `prediction`.

    Windows are [n, width] as `cohorts.encode.encode` returns them (NaN missing), predictions [n]. A feature's p-value is the smaller of
    its distribution test (Kolmogorov–Smirnov for numbers, chi-square for categories and booleans) and its missing-rate test, times two
    where both could be made (Bonferroni); `test` and `statistic` are those of the smaller. q-values are Benjamini–Hochberg over all
    features. `effect` is the PSI over the reference's deciles or levels with missing as one more bin. An alarm needs both q < the
    contract's false discovery rate and PSI ≥ its bounds.

    `n_reference` and `n_current` count the values that are there. With fewer rows than `min_samples` nothing is tested; with fewer
    values, only the missing rate. A column that is constant or empty in both windows together has no variance; one that went empty or
    stuck in the current window alone has drifted. Raises InvalidInput when shapes do not fit.
    """
    features = [*features_of(contract), Feature(PREDICTION)]
    before, now = summarised(contract, reference, current)
    before, now = _window(before, reference_prediction), _window(now, current_prediction)
    period = {"window_start": window_start, "window_end": window_end}
    findings = _findings(contract.drift, features, before, now)
    return DriftReport(model=contract.name, version=version, findings=findings, **period)


def _window(x: Floats, prediction: NDArray[np.floating]) -> Floats:
    prediction = np.asarray(prediction, dtype=np.float64)
    if prediction.shape != (len(x),):
        raise InvalidInput(f"a window has {len(x)} rows and predictions {prediction.shape}; give [n]")
    return np.column_stack([x, prediction])


def _findings(drift: Drift, features: Sequence[Feature], before: Floats, now: Floats) -> list[DriftFinding]:
    if min(len(before), len(now)) < drift.min_samples:
        tests = _untested(features)
    else:
        tests = _tests(drift, features, before, now)
    q_values = benjamini_hochberg([t.p_value for t in tests])
    constant = ~varies(np.concatenate([before, now]))
    n, m = present(before), present(now)
    findings = []
    for k, (feature, test) in enumerate(zip(features, tests, strict=True)):
        tested = not np.isnan(test.p_value)
        effect = _effect(feature, before[:, k], now[:, k]) if tested else None
        severity = _severity(drift, float(q_values[k]), effect)
        if not severity.alarming and not test.distribution:
            severity = _unknown(
                drift, rows=min(len(before), len(now)), values=min(n[k], m[k]), constant=constant[k]
            )
        findings.append(
            DriftFinding(
                feature=feature.name,
                test=test.name,
                statistic=test.statistic if tested else None,
                p_value=test.p_value if tested else None,
                q_value=float(q_values[k]) if tested else None,
                effect=effect,
                n_reference=int(n[k]),
                n_current=int(m[k]),
                severity=severity,
            )
        )
    return findings


def _untested(features: Sequence[Feature]) -> list[Deciding]:
    return [Deciding(_name(f), np.nan, np.nan, distribution=False) for f in features]


def _tests(drift: Drift, features: Sequence[Feature], before: Floats, now: Floats) -> list[Deciding]:
    """Return each feature's deciding test: the smaller p of distribution and missing rate, doubled where both were made."""
    statistics, p_values = _distribution_tests(features, before, now)
    scarce = np.minimum(present(before), present(now)) < drift.min_samples
    gaps = missing_rate(before, now)
    tests = []
    for k, feature in enumerate(features):
        p, gap = np.nan if scarce[k] else p_values[k], gaps.p_value[k]
        by_gap = gap < p or (np.isnan(p) and not np.isnan(gap))
        times = 1 if np.isnan(p) or np.isnan(gap) else 2
        tests.append(
            Deciding(
                name=MISSING if by_gap else _name(feature),
                statistic=float(gaps.statistic[k] if by_gap else statistics[k]),
                p_value=float(np.minimum(1.0, times * np.fmin(p, gap))),  # NaN when both are
                distribution=not np.isnan(p),
            )
        )
    return tests


def _name(feature: Feature) -> str:
    return CHI_SQUARE if feature.levels else KS


def _distribution_tests(features: Sequence[Feature], before: Floats, now: Floats) -> Result:
    tests = Result(np.full(len(features), np.nan), np.full(len(features), np.nan))
    numbers = [k for k, f in enumerate(features) if not f.levels]
    tests.statistic[numbers], tests.p_value[numbers] = kolmogorov_smirnov(before[:, numbers], now[:, numbers])
    for k, feature in enumerate(features):
        if feature.levels:
            counts = (level_counts(window[:, k], len(feature.levels))[:-1] for window in (before, now))
            tests.statistic[[k]], tests.p_value[[k]] = chi_square(*counts)
    return tests


def _effect(feature: Feature, before: Floats, now: Floats) -> float:
    if feature.levels:
        return psi(level_counts(before, len(feature.levels)), level_counts(now, len(feature.levels)))
    return psi(*bin_counts(before, now))


def _severity(drift: Drift, q_value: float, effect: float | None) -> Severity:
    if effect is None or q_value >= drift.false_discovery_rate or effect < drift.psi_moderate:
        return Severity.NONE
    return Severity.SEVERE if effect >= drift.psi_severe else Severity.MODERATE


def _unknown(drift: Drift, *, rows: int, values: int, constant: bool) -> Severity:
    """Why nothing can be said about a distribution: too few rows, nothing that varies, or too few values in enough rows."""
    if rows < drift.min_samples:
        return Severity.INSUFFICIENT
    return Severity.NO_VARIANCE if constant or values >= drift.min_samples else Severity.INSUFFICIENT
