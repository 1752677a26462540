"""Fitting: what is learnt, how well it is calibrated, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from medtower.domain.contract import Contract
from medtower.errors import CohortInvalid, ContractInvalid
from medtower.training.fit import fit
from medtower.training.trainers import platt

from .conftest import Floats, contract_of, outcomes, rows

Problem = tuple[Contract, Floats, Floats]


def answers(network: torch.nn.Module, x: Floats) -> NDArray[np.float64]:
    with torch.no_grad():
        return network(torch.tensor(x, dtype=torch.float32)).numpy().ravel().astype(np.float64)


def auc(y: Floats, score: Floats) -> float:
    ranks, positives = rankdata(score), y.sum()
    area = ranks[y == 1].sum() - positives * (positives + 1) / 2
    return float(area / (positives * (len(y) - positives)))


def calibration_error(y: Floats, score: Floats) -> float:
    place = np.minimum((score * 10).astype(int), 9)
    return float(
        sum(
            abs((y - score)[place == k].mean()) * (place == k).mean() for k in range(10) if (place == k).any()
        )
    )


@pytest.mark.parametrize("trainer", ["mlp", "logistic"])
def test_a_learnable_signal_is_learnt_and_the_probabilities_are_calibrated(
    classification: Problem, trainer: str
) -> None:
    _, x, y = classification
    network = fit(contract_of("classification", trainer=trainer), x, y, seed=3)
    fresh = rows(4000, seed=9)
    truth, score = outcomes(fresh, "classification", seed=10), answers(network, fresh)
    assert auc(truth, score) > 0.94
    assert calibration_error(truth, score) < 0.04
    assert score.min() >= 0
    assert score.max() <= 1


def test_a_network_that_ranks_well_but_is_timid_is_recalibrated(classification: Problem) -> None:
    _, x, y = classification
    barely = {"epochs": 20, "learning_rate": 0.02}
    network = fit(contract_of("classification", trainer="logistic", options=barely), x, y, seed=3)
    fresh = rows(4000, seed=9)
    truth, score = outcomes(fresh, "classification", seed=10), answers(network, fresh)
    assert auc(truth, score) > 0.9
    assert calibration_error(truth, score) < 0.06  # 0.25 before it


@pytest.mark.parametrize("trainer", ["mlp", "linear"])
def test_a_regression_answers_in_the_unit_of_the_outcome(regression: Problem, trainer: str) -> None:
    _, x, y = regression
    network = fit(contract_of("regression", trainer=trainer), x, y, seed=3)
    fresh = rows(4000, seed=9)
    truth = outcomes(fresh, "regression", seed=10)
    score = answers(network, fresh)
    assert 1 - ((truth - score) ** 2).mean() / truth.var() > 0.95
    assert abs(score.mean() - truth.mean()) < 0.5


@pytest.mark.parametrize("trainer", ["mlp", "logistic"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    classification: Problem, trainer: str
) -> None:
    _, x, y = classification
    contract = contract_of("classification", trainer=trainer)
    threads, outer = torch.get_num_threads(), torch.get_rng_state()
    first = fit(contract, x, y, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), outer)
    torch.rand(1)  # whatever else draws in this process changes nothing
    second, other = (fit(contract, x, y, seed=seed).state_dict() for seed in (5, 6))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)
    assert torch.get_num_threads() == threads


def test_a_missing_value_is_seen_as_missing_and_not_only_as_the_median(classification: Problem) -> None:
    contract, x, y = classification
    x = x.copy()
    y = np.where(np.isnan(x[:, 1]), 1.0, y)  # whoever was not measured has the outcome
    network = fit(contract, x, y, seed=1)
    typical = np.array([[50, np.nanmedian(x[:, 1]), 0, 1, 0], [50, np.nan, 0, 1, 0]])
    measured, missing = answers(network, typical)
    assert missing > 0.9 > measured


@pytest.mark.parametrize("column", [0, 2])
def test_a_gap_that_the_contract_refuses_makes_the_answer_nan(classification: Problem, column: int) -> None:
    contract, x, y = classification
    row = np.array([[50, 100, 0, 1, 0]], dtype=np.float64)
    row[0, column] = np.nan
    assert np.isnan(answers(fit(contract, x, y, seed=1), row)).all()


def test_a_number_stays_inside_the_range_of_the_output(regression: Problem) -> None:
    _, x, y = regression
    network = fit(contract_of("regression", trainer="linear", bounds=(20.0, 60.0)), x, y, seed=1)
    edges = np.array([[18, 0, 0, 0, 0], [100, 500, 1, 2, 1]], dtype=np.float64)
    assert answers(network, edges).tolist() == [20.0, 60.0]
    assert 20 < answers(network, x).mean() < 60


def test_options_of_the_contract_reach_the_trainer(classification: Problem) -> None:
    _, x, y = classification
    contract = contract_of("classification", options={"hidden": 8, "layers": 1, "epochs": 2})
    network = fit(contract, x, y, seed=1)
    # age, biomarker, smoker; two and three levels; three indicators
    assert [tuple(p.shape) for p in network.head.parameters()] == [(8, 11), (8,), (1, 8), (1,)]


def test_an_input_that_never_varies_does_no_harm(regression: Problem) -> None:
    contract, x, y = regression
    x = x.copy()
    x[:, 0] = 60
    assert np.isfinite(answers(fit(contract, x, y, seed=1), x)).all()


def test_platt_scaling_recovers_slope_and_offset() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, 20_000)
    y = (draw.random(20_000) < expit(0.5 * logits - 1)).astype(float)
    assert platt(logits, y) == pytest.approx((0.497, -0.987), abs=0.02)


def test_platt_scaling_stays_finite_on_separable_rows_and_never_turns_the_ranking_round() -> None:
    logits = np.array([-1.0, -0.5, 0.5, 1.0])
    slope, offset = platt(logits, (logits > 0).astype(float))
    assert 1 < slope < 5
    assert offset == pytest.approx(0)
    assert platt(np.tile(logits, 50), np.tile(logits < 0, 50).astype(float)) == (1.0, 0.0)


def bad(x: Floats, y: Floats, what: str) -> tuple[Floats, Floats]:
    x, y = x.copy(), y.copy()
    match what:
        case "gap":
            x[3, 0] = np.nan
        case "infinite":
            x[3, 1] = np.inf
        case "empty":
            x[:, 1] = np.nan
        case "unknown":
            y[0] = np.nan
        case "third class":
            y[0] = 2
        case "one class":
            y[:] = 0
        case "few":
            x, y = x[:10], y[:10]
        case "narrow":
            x = x[:, :3]
    return x, y


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("gap", "age: 1 values are missing and the contract refuses gaps"),
        ("infinite", "biomarker: some values are infinite"),
        ("empty", "biomarker: has no value at all"),
        ("unknown", "outcome: some are missing or infinite"),
        ("third class", "learns from 0 and 1 only"),
        ("one class", "the rarer class has 0 rows"),
        ("few", "10 rows are too few"),
        ("narrow", r"x has shape \(2000, 3\)"),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(classification: Problem, what: str, says: str) -> None:
    contract, x, y = classification
    with pytest.raises(CohortInvalid, match=says):
        fit(contract, *bad(x, y, what), seed=1)


@pytest.fixture
def team_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "team_trainers.py").write_text(
        """
import torch

class Constant(torch.nn.Module):
    def __init__(self, value, width=1):
        super().__init__()
        self.value, self.width = value, width
    def forward(self, x):
        return torch.full((x.shape[0], self.width), self.value)

def prevalence(contract, x, y, seed, shrink=1.0):
    return Constant(float(y.mean()) * shrink)

def a_number(contract, x, y, seed):
    return 0.5

def two_columns(contract, x, y, seed):
    return Constant(0.5, width=2)

def a_pair(contract, x, y, seed):
    class Pair(torch.nn.Module):
        def forward(self, x):
            return (x, x)
    return Pair()

def not_finite(contract, x, y, seed):
    return Constant(float("nan"))

def not_a_probability(contract, x, y, seed):
    return Constant(1.5)

not_callable = 3
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("team_code")
def test_a_team_brings_its_own_trainer(classification: Problem) -> None:
    _, x, y = classification
    contract = contract_of("classification", trainer="team_trainers:prevalence", options={"shrink": 0.5})
    assert answers(fit(contract, x, y, seed=1), x[:3]) == pytest.approx([y.mean() / 2] * 3)


@pytest.mark.usefixtures("team_code")
@pytest.mark.parametrize(
    ("trainer", "says"),
    [
        ("team_trainers:a_number", "returned a float; return a fitted torch.nn.Module"),
        ("team_trainers:two_columns", r"answers \[20, 2\] to \[20, 5\]; answer \[n, 1\]"),
        ("team_trainers:a_pair", r"answers \['tuple'\]"),
        ("team_trainers:not_finite", "NaN or infinity"),
        ("team_trainers:not_a_probability", "end a classifier with a sigmoid"),
        ("team_trainers:not_callable", "has no function 'not_callable'"),
        ("team_trainers:absent", "has no function 'absent'"),
        ("no_such_package.trainers:fit", "cannot be imported"),
        ("forest", "write one of mlp, logistic, linear or 'package.module:function'"),
        ("linear", "does not fit a classification model; write 'logistic' or 'mlp'"),
    ],
)
def test_a_trainer_that_does_not_do_its_job_is_named(
    classification: Problem, trainer: str, says: str
) -> None:
    _, x, y = classification
    with pytest.raises(ContractInvalid, match=says):
        fit(contract_of("classification", trainer=trainer), x, y, seed=1)


def test_an_unknown_option_is_named(classification: Problem) -> None:
    _, x, y = classification
    with pytest.raises(ContractInvalid, match=r"training\.options.*unexpected keyword argument 'hiden'"):
        fit(contract_of("classification", options={"hiden": 3}), x, y, seed=1)
