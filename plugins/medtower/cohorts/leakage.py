"""Leakage of the target: an input that alone tells the outcome was written after it, or is it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medtower.cohorts.encode import encode
from medtower.domain.contract import Contract

LIMIT = 0.995
LEAST = 50  # below this many rows with both values a perfect rank is chance
REMEDY = "remove it from the contract, or take the value as it was before the outcome was known"


def leaks(frame: pd.DataFrame, contract: Contract) -> list[str]:
    """One line for every input of which one column alone orders the outcome: AUC (either direction) or, for a number, |Spearman's rho| at least 0.995,
    or being the outcome up to a factor and an offset. A gap counts as well as a value: a result that only those have who fell ill leaks.

    Categories are taken by their outcome rate, so that their order does not matter (Kaufman et al., ACM TKDD 2012;6(4):15).
    """
    outcome = frame["outcome"].to_numpy(dtype=np.float64)
    known = ~np.isnan(outcome)
    features, truth = encode(frame, contract)[known].astype(np.float64), outcome[known]
    found = []
    leaking: set[str] = set()
    for k, (spec, _) in enumerate(contract.columns):
        if spec.name in leaking:
            continue
        column = features[:, k]
        if spec.dtype == "category":
            column = _rates(column, truth)
        for what, values, at in (
            ("", column, ~np.isnan(column)),
            (" being missing", np.isnan(column).astype(np.float64), np.ones(len(column), dtype=bool)),
        ):
            strength = association(values[at], truth[at], contract.task)
            if strength >= LIMIT:
                measure = "AUC" if contract.task == "classification" else "|Spearman's rho|"
                rule = (
                    f"leakage of the target: {spec.name}{what} alone tells the outcome ({measure} ≥ {LIMIT})"
                )
                found.append(f"{spec.name}: {rule}; {REMEDY}")
                leaking.add(spec.name)
                break
    return found


def association(values: NDArray[np.float64], outcome: NDArray[np.float64], task: str) -> float:
    """How far `values` [n] alone order `outcome` [n], in [0, 1]; 0 when there is nothing to order."""
    from scipy.stats import rankdata

    if len(values) < LEAST or np.ptp(values) == 0 or np.ptp(outcome) == 0:
        return 0.0
    ranks = rankdata(values)
    if task == "classification":
        positive = outcome == 1
        n1, n0 = int(positive.sum()), int((~positive).sum())
        auc = (ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)  # Mann–Whitney
        return float(max(auc, 1 - auc))
    by_rank = abs(np.corrcoef(ranks, rankdata(outcome))[0, 1])
    return float(max(by_rank, abs(np.corrcoef(values, outcome)[0, 1])))


def _rates(codes: NDArray[np.float64], outcome: NDArray[np.float64]) -> NDArray[np.float64]:
    rates = np.full(len(codes), np.nan)
    for code in np.unique(codes[~np.isnan(codes)]):
        rates[codes == code] = outcome[codes == code].mean()
    return rates
