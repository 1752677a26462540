"""The built-in trainers. Each takes (contract, x, y, seed, **options) and returns a fitted Network; same seed, same weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medtower.domain.contract import Contract
from medtower.training.modules import Network, Preprocess, linear_head, mlp_head

Floats = NDArray[np.floating]
THREADS = 1  # these matrices are small: a second thread is no faster on idle cores and ten times slower on busy ones
VALIDATION = 0.2


@dataclass(frozen=True)
class Schedule:
    """AdamW (Loshchilov & Hutter 2019) with early stopping: `patience` epochs without a better validation loss end it."""

    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    batch: int


def mlp(
    contract: Contract,
    x: Floats,
    y: Floats,
    seed: int,
    *,
    hidden: int = 64,
    layers: int = 2,
    dropout: float = 0.1,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-2,
    epochs: int = 120,
    patience: int = 12,
    batch: int = 512,
) -> Network:
    """Fit a multilayer perceptron to x [n, inputs] (NaN missing) and y [n]."""
    schedule = Schedule(learning_rate, weight_decay, epochs, patience, batch)
    with _reproducible(seed):
        preprocess = Preprocess(contract, x)
        head = mlp_head(preprocess.width, hidden=hidden, layers=layers, dropout=dropout)
        return _fit(
            contract,
            Network(contract, preprocess, head),
            x,
            y,
            seed=seed,
            schedule=schedule,
        )


def logistic(
    contract: Contract,
    x: Floats,
    y: Floats,
    seed: int,
    *,
    learning_rate: float = 5e-2,
    weight_decay: float = 1e-3,
    epochs: int = 400,
    patience: int = 30,
) -> Network:
    """Fit a logistic regression to x [n, inputs] (NaN missing) and y [n] in {0, 1}."""
    return _linear(contract, x, y, seed, Schedule(learning_rate, weight_decay, epochs, patience, len(x)))


def linear(
    contract: Contract,
    x: Floats,
    y: Floats,
    seed: int,
    *,
    learning_rate: float = 5e-2,
    weight_decay: float = 1e-3,
    epochs: int = 400,
    patience: int = 30,
) -> Network:
    """Fit a linear regression to x [n, inputs] (NaN missing) and y [n]."""
    return _linear(contract, x, y, seed, Schedule(learning_rate, weight_decay, epochs, patience, len(x)))


def _linear(contract: Contract, x: Floats, y: Floats, seed: int, schedule: Schedule) -> Network:
    with _reproducible(seed):
        preprocess = Preprocess(contract, x)
        network = Network(contract, preprocess, linear_head(preprocess.width))
        return _fit(contract, network, x, y, seed=seed, schedule=schedule)


def _is_class(contract: Contract) -> bool:
    return contract.task == "classification"


def _fit(
    contract: Contract, network: Network, x: Floats, y: Floats, *, seed: int, schedule: Schedule
) -> Network:
    """Train the head, then fold in what makes its output an answer: Platt scaling, or the outcome's own scale."""
    centre, spread = (0.0, 1.0) if _is_class(contract) else (float(y.mean()), float(y.std()) or 1.0)
    with torch.no_grad():
        design = network.preprocess(torch.tensor(np.asarray(x), dtype=torch.float32))
    target = torch.tensor((np.asarray(y, dtype=np.float64) - centre) / spread, dtype=torch.float32).reshape(
        -1, 1
    )
    inner = _validation(y if _is_class(contract) else np.zeros(len(y)), seed)
    loss = nn.BCEWithLogitsLoss() if _is_class(contract) else nn.MSELoss()
    _descend(network.head, design, target, inner=torch.from_numpy(inner), loss=loss, schedule=schedule)
    if _is_class(contract):
        with torch.no_grad():
            logits = network.head(design[torch.from_numpy(inner)]).numpy().ravel()
        network.rescale(*platt(logits, np.asarray(y)[inner]))
    else:
        network.rescale(spread, centre)
    network.eval()
    return network


def _descend(
    head: nn.Sequential, design: Tensor, target: Tensor, *, inner: Tensor, loss: nn.Module, schedule: Schedule
) -> None:
    """Train `head` on the rows outside `inner` and leave it with the weights that were best on `inner`."""
    held, kept = torch.nonzero(inner).ravel(), torch.nonzero(~inner).ravel()
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    best, best_state, waited = float("inf"), copy.deepcopy(head.state_dict()), 0
    for _ in range(schedule.epochs):
        head.train()
        for rows in kept[torch.randperm(len(kept))].split(schedule.batch):
            optimiser.zero_grad()
            loss(head(design[rows]), target[rows]).backward()
            optimiser.step()
        head.eval()
        with torch.no_grad():
            now = float(loss(head(design[held]), target[held]))
        if now < best:
            best, best_state, waited = now, copy.deepcopy(head.state_dict()), 0
        elif (waited := waited + 1) >= schedule.patience:
            break
    head.load_state_dict(best_state)
    head.eval()


def _validation(strata: Floats, seed: int) -> NDArray[np.bool_]:
    """Return the mask [n] of the inner validation part: VALIDATION of each stratum, at least one row of it."""
    draw = np.random.default_rng(seed)
    inner = np.zeros(len(strata), dtype=np.bool_)
    for level in np.unique(strata):
        rows = draw.permutation(np.flatnonzero(strata == level))
        inner[rows[: max(1, round(VALIDATION * len(rows)))]] = True
    return inner


def platt(logits: Floats, y: Floats, *, prior: float = 1.0, steps: int = 50) -> tuple[float, float]:
    """Return (slope, offset) of the recalibration p = σ(slope·logit + offset) (Platt 1999).

    Newton's method on the log-likelihood with a Gaussian prior of precision `prior` around (1, 0), which keeps few or separable rows
    from an extreme slope. A slope ≤ 0 would turn the ranking round; then (1, 0) is returned.
    """
    logits, y = np.asarray(logits, dtype=np.float64), np.asarray(y, dtype=np.float64)
    design, start = np.column_stack([logits, np.ones_like(logits)]), np.array([1.0, 0.0])
    theta = start
    for _ in range(steps):
        p = 0.5 * (1 + np.tanh(design @ theta / 2))  # the logistic function, without overflow
        gradient = design.T @ (p - y) + prior * (theta - start)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + prior * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta = theta - step
        if np.abs(step).max() < 1e-10:
            break
    slope, offset = float(theta[0]), float(theta[1])
    return (slope, offset) if slope > 0 else (1.0, 0.0)


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """Seed torch inside the block only, and fix the number of threads: the order of a sum depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
