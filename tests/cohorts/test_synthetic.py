from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from tests.cohorts.conftest import MODELS, contract_of

from medtower.adapters.contracts import read, read_cohort
from medtower.cohorts.load import arrivals, load, today
from medtower.cohorts.synthetic import draw
from medtower.domain.cohort import CohortSpec, Shift, SyntheticSource
from medtower.errors import CohortInvalid

SYNTHETIC = ["alzheimer_risk", "als_risk", "parkinsons_severity"]


def source(**changes: Any) -> SyntheticSource:
    parts: dict[str, Any] = {
        "kind": "synthetic",
        "size": 4000,
        "seed": 1,
        "inputs": {
            "age": {"family": "normal", "parameters": [60, 12]},
            "sex": {"family": "category", "parameters": [0.7, 0.3]},
            "creatinine": {"family": "lognormal", "parameters": [0.1, 0.4], "missing_rate": 0.2},
            "diabetes": {"family": "bernoulli", "parameters": [0.25]},
        },
        "correlations": [["age", "creatinine", 0.6]],
        "coefficients": {"age": 1.0, "creatinine": 0.5},
        "signal": 2.0,
    }
    return SyntheticSource.model_validate(parts | changes)


def test_marginals_and_correlation_are_as_asked() -> None:
    frame = draw(contract_of(), source(), n=20_000, seed=[0])
    assert float(frame["age"].mean()) == pytest.approx(60, abs=0.4)
    assert (frame["age"] % 1 == 0).all()
    assert float((frame["sex"] == "M").mean()) == pytest.approx(0.3, abs=0.01)
    assert float(frame["diabetes"].mean()) == pytest.approx(0.25, abs=0.01)
    assert float(frame["creatinine"].isna().mean()) == pytest.approx(0.2, abs=0.01)
    both = frame[["age", "creatinine"]].dropna()
    # Spearman's rho of a Gaussian copula with correlation r is 6/π·asin(r/2)
    assert spearmanr(both["age"], both["creatinine"]).statistic == pytest.approx(
        6 / np.pi * np.arcsin(0.3), abs=0.02
    )


def test_numbers_stay_inside_the_contract() -> None:
    frame = draw(contract_of(), source(), n=5000, seed=[0], shifts=[Shift(input="creatinine", factor=50)])
    assert frame["creatinine"].dropna().between(0.1, 25).all()


@pytest.mark.parametrize(
    ("family", "parameters"),
    [("uniform", [20, 100]), ("poisson", [60]), ("beta", [2, 5]), ("normal", [60, 9])],
)
def test_every_family_of_numbers_can_be_drawn(family: str, parameters: list[float]) -> None:
    inputs = dict(source().inputs) | {"age": {"family": family, "parameters": parameters}}
    frame = draw(contract_of(), source(inputs=inputs), n=500, seed=[0])
    assert frame["age"].between(18, 110).all()
    assert frame["age"].nunique() > 10


def test_the_same_seed_gives_the_same_patients_and_another_gives_others() -> None:
    first = draw(contract_of(), source(), n=100, seed=[0])
    pd.testing.assert_frame_equal(first, draw(contract_of(), source(), n=100, seed=[0]))
    assert not first["age"].equals(draw(contract_of(), source(), n=100, seed=[1])["age"])


def test_a_measured_shift_leaves_the_outcome_and_a_true_shift_moves_it() -> None:
    plain = draw(contract_of(), source(), n=3000, seed=[0])
    measured = draw(contract_of(), source(), n=3000, seed=[0], shifts=[Shift(input="age", offset=10)])
    older = draw(
        contract_of(), source(), n=3000, seed=[0], shifts=[Shift(input="age", offset=10, when="true")]
    )
    assert measured["outcome"].equals(plain["outcome"])
    assert measured["age"].equals(older["age"])
    assert older["outcome"].mean() > plain["outcome"].mean() + 0.05


def test_interactions_count() -> None:
    together = source(coefficients={"age": 0.0}, interactions=[["age", "creatinine", 2.0]])
    frame = draw(contract_of(), together, n=5000, seed=[0]).dropna()
    same = ((frame["age"] > 60) == (frame["creatinine"] > 1.1)).astype(float)
    assert same.corr(frame["outcome"]) > 0.3


def test_correlations_that_cannot_hold_together_are_refused() -> None:
    impossible = [["age", "creatinine", 0.9], ["age", "diabetes", 0.9], ["creatinine", "diabetes", -0.9]]
    with pytest.raises(CohortInvalid, match="cannot hold together"):
        draw(contract_of(), source(correlations=impossible), n=10, seed=[0])


def test_a_regression_outcome_is_cut_to_the_output_range() -> None:
    contract = contract_of(
        "regression", output={"name": "severity", "unit": "1", "description": "severity", "range": [0, 2]}
    )
    frame = draw(contract, source(noise=0.5, scale=1.0, offset=1.0), n=500, seed=[0])
    assert frame["outcome"].between(0, 2).all()
    assert frame["outcome"].nunique() > 100


@pytest.mark.parametrize("name", SYNTHETIC)
def test_those_who_arrive_were_not_trained_on(name: str) -> None:
    contract, spec = read(MODELS / name), read_cohort(MODELS / name)
    trained = load(contract, spec, MODELS / name)
    coming = arrivals(contract, spec, MODELS / name, n=200, seed=1)
    assert not set(coming["subject_id"]) & set(trained["subject_id"])
    merged = coming.merge(trained, on=contract.input_names)
    assert merged.empty


@pytest.mark.parametrize("name", ["alzheimer_risk", "als_risk"])
def test_the_classes_are_balanced(name: str) -> None:
    frame = load(read(MODELS / name), read_cohort(MODELS / name), MODELS / name)
    assert 0.44 < frame["outcome"].mean() < 0.56


def fitted(contract: Any, frame: pd.DataFrame, seed: int = 3) -> Any:
    """The contract's own trainer on `frame`; returns a function frame → score [n]."""
    import torch

    from medtower.cohorts.encode import encode
    from medtower.training.fit import fit

    module = fit(contract, encode(frame, contract), frame["outcome"].to_numpy(), seed=seed)

    def score(of: pd.DataFrame) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(encode(of, contract))).numpy()[:, 0].astype(float)

    return score


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_built_in_trainer_reaches_every_target(name: str) -> None:
    from medtower.domain.metric import METRICS
    from medtower.evaluation.metrics import estimates

    contract, spec = read(MODELS / name), read_cohort(MODELS / name)
    score = fitted(contract, load(contract, spec, MODELS / name))
    unseen = arrivals(contract, spec, MODELS / name, n=1500, seed=11)
    found = {
        e.metric: e
        for e in estimates(contract, unseen["outcome"].to_numpy(), score(unseen), {}, seed=1)
        if e.metric in contract.kpis
    }
    assert set(found) == set(contract.kpis)
    for metric, kpi in contract.kpis.items():
        estimate = found[metric]
        assert estimate.value is not None and estimate.lower is not None and estimate.upper is not None
        bad_side = estimate.lower if METRICS[metric].higher_is_better else estimate.upper
        assert not METRICS[metric].breached(estimate.value, kpi.target), metric
        assert not METRICS[metric].breached(bad_side, kpi.warning), metric


def test_the_rehearsed_shift_breaks_a_model_and_retraining_repairs_it() -> None:
    from sklearn.metrics import accuracy_score, roc_auc_score

    folder = MODELS / "alzheimer_risk"
    contract, spec = read(folder), read_cohort(folder)
    trained_on = load(contract, spec, folder)
    old = fitted(contract, trained_on)
    usual = arrivals(contract, spec, folder, n=1500, seed=11)
    shifted = today(contract, spec, folder, n=1500, seed=12)
    before = roc_auc_score(usual["outcome"], old(usual))
    after = roc_auc_score(shifted["outcome"], old(shifted))
    assert before - after > contract.retraining.drop
    assert accuracy_score(shifted["outcome"], old(shifted) > 0.5) < contract.kpis["accuracy"].critical

    days, plan = 90, spec.rehearsal
    traffic = [
        arrivals(contract, spec, folder, n=plan.per_day * (days - plan.shift_last_days), seed=13),
        today(contract, spec, folder, n=plan.per_day * plan.shift_last_days, seed=14),
    ]
    new = fitted(contract, pd.concat(traffic, ignore_index=True))
    assert roc_auc_score(shifted["outcome"], new(shifted)) > contract.kpis["auc_roc"].target
    assert accuracy_score(shifted["outcome"], new(shifted) > 0.5) > contract.kpis["accuracy"].target


@pytest.mark.parametrize("name", ["mortality_5y", "als_risk", "parkinsons_severity"])
def test_only_one_model_rehearses_a_shift(name: str) -> None:
    spec: CohortSpec = read_cohort(MODELS / name)
    assert spec.rehearsal.shifts == []
