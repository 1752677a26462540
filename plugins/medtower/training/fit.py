"""Fit the model that a contract describes, with the trainer that it names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medtower.domain.contract import Contract
from medtower.errors import CohortInvalid, ContractInvalid

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.floating]
BUILT_IN = {
    "mlp": ("classification", "regression"),
    "logistic": ("classification",),
    "linear": ("regression",),
}
MIN_ROWS = 20
MIN_PER_CLASS = 5


def fit(contract: Contract, x: Floats, y: Floats, *, seed: int) -> torch.nn.Module:
    """Return a fitted module: raw rows [n, inputs] float32 (NaN missing) → [n, 1], a probability or a value in the output's unit.

    x [n, inputs] is what `cohorts.encode.encode` returns, y [n] the outcome (0/1 or a number). The trainer is called as
    function(contract, x, y, seed, **contract.training.options). Raises CohortInvalid for data that cannot be learnt from, ContractInvalid
    for a trainer that cannot be found or called, or that returns something else.
    """
    x, y = np.asarray(x), np.asarray(y)
    if problems := _problems(contract, x, y):
        raise CohortInvalid(contract.name, problems)
    trainer = _trainer(contract)
    options = contract.training.options
    _check_options(contract, trainer, options)
    return _checked(contract, trainer(contract, x, y, seed, **options), x)


def _problems(contract: Contract, x: Floats, y: Floats) -> list[str]:
    if x.ndim != 2 or x.shape[1] != contract.width or y.shape != (len(x),):
        return [
            f"x has shape {x.shape} and y {y.shape}; give x [n, {contract.width}] and y [n]",
        ]
    if len(x) < MIN_ROWS:
        return [f"{len(x)} rows are too few to train on; give at least {MIN_ROWS}"]
    return _outcome_problems(contract, y) + _input_problems(contract, x)


def _outcome_problems(contract: Contract, y: Floats) -> list[str]:
    if not np.isfinite(y).all():
        return ["outcome: some are missing or infinite; drop the rows whose outcome is unknown"]
    if contract.task == "regression":
        return []
    if not np.isin(y, (0, 1)).all():
        return ["outcome: a classification model learns from 0 and 1 only"]
    rare = int(min(y.sum(), len(y) - y.sum()))
    if rare < MIN_PER_CLASS:
        return [f"outcome: the rarer class has {rare} rows, at least {MIN_PER_CLASS} are needed"]
    return []


def _input_problems(contract: Contract, x: Floats) -> list[str]:
    problems = []
    for (spec, place), column in zip(contract.columns, x.T, strict=True):
        missing, name = int(np.isnan(column).sum()), spec.column_name(place)
        if np.isinf(column).any():
            problems.append(f"{name}: some values are infinite; write them as missing or drop the rows")
        if missing and not spec.may_lack(place):
            problems.append(
                f"{name}: {missing} values are missing and the contract refuses gaps; write `missing: impute` or drop the rows"
            )
        elif missing == len(column):
            problems.append(f"{name}: has no value at all; remove the input or repair its column")
    return problems


def _trainer(contract: Contract) -> Callable[..., Any]:
    name = contract.training.trainer
    if name in BUILT_IN:
        if contract.task not in BUILT_IN[name]:
            other = next(k for k, tasks in BUILT_IN.items() if k != "mlp" and contract.task in tasks)
            raise _invalid(
                contract, f"'{name}' does not fit a {contract.task} model; write '{other}' or 'mlp'"
            )
        from medtower.training import trainers

        function: Callable[..., Any] = getattr(trainers, name)
        return function
    return _custom(contract, name)


def _custom(contract: Contract, name: str) -> Callable[..., Any]:
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise _invalid(
            contract,
            f"'{name}' is no trainer; write one of {', '.join(BUILT_IN)} or 'package.module:function'",
        )
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except ImportError as error:
        raise _invalid(
            contract, f"'{module_name}' cannot be imported ({error.msg}); install it or put it on PYTHONPATH"
        ) from error
    if not callable(function):
        raise _invalid(contract, f"'{module_name}' has no function '{function_name}'")
    return function  # type: ignore[no-any-return]


def _check_options(contract: Contract, trainer: Callable[..., Any], options: dict[str, Any]) -> None:
    signature = inspect.signature(trainer)
    try:
        signature.bind(contract, None, None, 0, **options)
    except TypeError as error:
        raise ContractInvalid(
            f"the contract of {contract.name}",
            [f"training.options: {contract.training.trainer}{signature} cannot be called with them: {error}"],
        ) from error


def _checked(contract: Contract, network: Any, x: Floats) -> torch.nn.Module:
    """Return `network` in evaluation mode; raise ContractInvalid when it is no module or does not answer as promised."""
    import torch

    if not isinstance(network, torch.nn.Module):
        raise _invalid(
            contract, f"the function returned a {type(network).__name__}; return a fitted torch.nn.Module"
        )
    network.eval()
    sample = torch.tensor(x[:MIN_ROWS], dtype=torch.float32)
    with torch.no_grad():
        answer = network(sample)
    if not isinstance(answer, torch.Tensor) or tuple(answer.shape) != (len(sample), 1):
        shape = list(getattr(answer, "shape", [type(answer).__name__]))
        raise _invalid(
            contract, f"the module answers {shape} to [{len(sample)}, {x.shape[1]}]; answer [n, 1]"
        )
    if not torch.isfinite(answer).all():
        raise _invalid(
            contract, "the module answers NaN or infinity to rows it was trained on; impute gaps inside it"
        )
    if contract.task == "classification" and not ((answer >= 0) & (answer <= 1)).all():
        raise _invalid(contract, "the module answers outside [0, 1]; end a classifier with a sigmoid")
    return network


def _invalid(contract: Contract, problem: str) -> ContractInvalid:
    return ContractInvalid(f"the contract of {contract.name}", [f"training.trainer: {problem}"])
