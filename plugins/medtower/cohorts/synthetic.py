"""Seeded synthetic patients: a Gaussian copula over the contract's inputs and an outcome equation on who they truly are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtower.cohorts.marginals import measurable, moments, quantiles
from medtower.domain.cohort import Shift, SyntheticSource
from medtower.domain.contract import Contract
from medtower.errors import CohortInvalid

Floats = NDArray[np.float64]
Columns = dict[str, Floats]

FIRST_DAY = pd.Timestamp("2025-01-01", tz="UTC")  # any fixed day: a draw must not depend on the clock
YEAR_SECONDS = 365 * 86_400


def draw(
    contract: Contract, source: SyntheticSource, *, n: int, seed: Sequence[int], shifts: Sequence[Shift] = ()
) -> pd.DataFrame:
    """`n` patients as a cohort frame. The same `seed` gives the same patients.

    Correlated normals (Nelsen, An Introduction to Copulas, 2006, §2.3) become the marginals; shifts of the person act before the outcome
    is drawn, shifts of the measurement after it. Raises CohortInvalid when the correlations cannot hold together.
    """
    generator = np.random.default_rng([source.seed, *seed])
    person = _people(contract, source, generator, n)
    person = _shifted(contract, person, [s for s in shifts if s.when == "true"])
    outcome = _outcome(contract, source, person, generator)
    seen = _shifted(contract, person, [s for s in shifts if s.when == "measured"])
    frame = pd.DataFrame({i.name: _column(contract, i.name, seen[i.name]) for i in contract.inputs})
    for name, distribution in source.inputs.items():
        gone = generator.uniform(size=n) < distribution.missing_rate
        frame.loc[gone, name] = None
    frame["subject_id"] = [f"synthetic-{'-'.join(map(str, seed))}-{i:06d}" for i in range(n)]
    seconds = np.sort(generator.integers(0, YEAR_SECONDS, n))
    frame["event_time"] = (FIRST_DAY + pd.to_timedelta(seconds, unit="s")).as_unit("ns")
    frame["outcome"] = outcome
    return frame


def _people(contract: Contract, source: SyntheticSource, generator: np.random.Generator, n: int) -> Columns:
    from scipy.special import ndtr

    normals = generator.standard_normal((n, len(contract.inputs))) @ _cholesky(contract, source).T
    uniforms = np.clip(ndtr(normals), 1e-9, 1 - 1e-9)
    return {
        spec.name: quantiles(spec, source.inputs[spec.name], uniforms[:, k])
        for k, spec in enumerate(contract.inputs)
    }


def _cholesky(contract: Contract, source: SyntheticSource) -> Floats:
    place = {name: k for k, name in enumerate(contract.input_names)}
    matrix: Floats = np.eye(len(place), dtype=np.float64)
    for a, b, r in source.correlations:
        matrix[place[a], place[b]] = matrix[place[b], place[a]] = r
    try:
        return np.linalg.cholesky(matrix).astype(np.float64)
    except np.linalg.LinAlgError:
        rule = "source.correlations: these correlations cannot hold together; bring the strongest nearer to 0"
        raise CohortInvalid(contract.name, [rule]) from None


def _shifted(contract: Contract, columns: Columns, shifts: Sequence[Shift]) -> Columns:
    moved = dict(columns)
    for shift in shifts:
        spec = contract.input(shift.input)
        moved[shift.input] = measurable(spec, moved[shift.input] * shift.factor + shift.offset)
    return moved


def _outcome(
    contract: Contract, source: SyntheticSource, person: Columns, generator: np.random.Generator
) -> Floats:
    from scipy.special import expit

    z = {}
    for spec in contract.inputs:
        mean, deviation = moments(spec, source.inputs[spec.name])
        z[spec.name] = (person[spec.name] - mean) / deviation
    latent = np.full(len(next(iter(z.values()))), source.intercept)
    for name, coefficient in source.coefficients.items():
        latent += coefficient * z[name]
    for a, b, coefficient in source.interactions:
        latent += coefficient * z[a] * z[b]
    latent *= source.signal
    if contract.task == "classification":
        happens: Floats = (generator.uniform(size=len(latent)) < expit(latent)).astype(np.float64)
        return happens
    value = (latent + generator.normal(0, source.noise, len(latent))) * source.scale + source.offset
    low, high = contract.output.range or (-np.inf, np.inf)
    bounded: Floats = np.clip(value, low, high)
    return bounded


def _column(contract: Contract, name: str, values: Floats) -> pd.Series:
    spec = contract.input(name)
    if spec.dtype == "category":
        return pd.Series(np.array(spec.categories, dtype=object)[values.astype(int)], dtype=object)
    if spec.dtype == "boolean":
        return pd.Series(values.astype(bool), dtype=object)
    return pd.Series(values, dtype=np.float64)
