"""Networks that carry their own preprocessing, so that the exported graph takes the raw row `features` [batch, inputs]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medtower.domain.contract import Contract, Input

NO_LEVEL = -1.0  # stands in for a missing category: equals no index, so its one-hot block is all zero


class Preprocess(nn.Module):  # type: ignore[misc]
    """Raw row [batch, width of the contract] → design row [batch, `width`], all state in buffers.

    Numbers are standardised, categories one-hot encoded, booleans kept as 0/1. An input with `missing: impute` is filled with the
    median of the rows given to the constructor and gets an indicator column (Little & Rubin 2019, section 3.4), and so is what a sequence may end
    before. An input with `missing: refuse` is never filled: `gap` turns its NaN into a NaN answer.
    """

    def __init__(self, contract: Contract, x: NDArray[np.floating]) -> None:
        super().__init__()
        columns_of = contract.columns
        numbers = [k for k, (i, _) in enumerate(columns_of) if i.dtype not in ("boolean", "category")]
        levels = [
            (k, float(level))
            for k, (i, _) in enumerate(columns_of)
            for level in range(len(i.categories or []))
        ]
        # a text is there or not as a whole, so one column tells
        imputed = [
            k
            for k, (i, place) in enumerate(columns_of)
            if i.may_lack(place) and (i.dtype != "text" or not place)
        ]
        fill = np.array([_fill(i, column) for (i, _), column in zip(columns_of, x.T, strict=True)])
        filled = np.where(np.isnan(x), fill, x)[:, numbers]
        spread = filled.std(axis=0)
        columns = {
            "numbers": numbers,
            "booleans": [k for k, (i, _) in enumerate(columns_of) if i.dtype == "boolean"],
            "categories": [k for k, _ in levels],
            "imputed": imputed,
        }
        self.sizes = {
            name: len(values) for name, values in columns.items()
        }  # plain numbers: tracing keeps them out
        self.width = sum(self.sizes.values())
        for name, values in columns.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64))
        self._numbers("levels", [level for _, level in levels])
        self._numbers("fill", fill)
        self._numbers("mean", filled.mean(axis=0))
        self._numbers("spread", np.where(spread > 0, spread, 1.0))
        self.register_buffer("fillable", torch.tensor([i.may_lack(place) for i, place in columns_of]))

    def _numbers(self, name: str, values: NDArray[np.floating] | list[float]) -> None:
        self.register_buffer(name, torch.tensor(np.asarray(values), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return the design row [batch, width], float32."""
        missing, filled = torch.isnan(x), self._filled(x)
        parts = []
        if self.sizes["numbers"]:
            parts.append((filled[:, self.numbers] - self.mean) / self.spread)
        if self.sizes["booleans"]:
            parts.append(filled[:, self.booleans])
        if self.sizes["categories"]:
            parts.append((filled[:, self.categories] == self.levels).to(x.dtype))
        if self.sizes["imputed"]:
            parts.append(missing[:, self.imputed].to(x.dtype))
        return torch.cat(parts, dim=1)

    def gap(self, x: Tensor) -> Tensor:
        """Return [batch, 1]: NaN where an input that may not be missing is missing (or infinite), else 0.

        Added to the answer: a one-hot block loses a NaN, and what a runtime's activations do with one is its own affair. Multiplied
        by zero, not selected, because a NaN constant in the graph would break the policy on finite weights.
        """
        return (0 * self._filled(x)).sum(dim=1, keepdim=True)

    def _filled(self, x: Tensor) -> Tensor:
        return torch.where(torch.isnan(x) & self.fillable, self.fill, x)


def _fill(spec: Input, column: NDArray[np.floating]) -> float:
    if spec.dtype == "category":
        return NO_LEVEL
    present = column[~np.isnan(column)]
    return float(np.median(present)) if len(present) else 0.0


class Network(nn.Module):  # type: ignore[misc]
    """Preprocessing and a head. Raw row [batch, inputs] → [batch, 1]: a probability, or a number in the output's unit.

    A number is cut to the output's `range` where the contract gives one: no patient has a score beyond the scale's end. The head's last
    layer is a `Linear(…, 1)`; `rescale` folds an affine change of its output into that layer's weights.
    """

    def __init__(self, contract: Contract, preprocess: Preprocess, head: nn.Sequential) -> None:
        super().__init__()
        self.preprocess, self.head = preprocess, head
        self.probability, self.bounds = contract.task == "classification", contract.output.range

    def forward(self, x: Tensor) -> Tensor:
        raw = self.head(self.preprocess(x))
        if self.probability:
            raw = torch.sigmoid(raw)
        elif self.bounds:
            raw = raw.clamp(*self.bounds)
        return raw + self.preprocess.gap(x)

    def rescale(self, factor: float, offset: float) -> None:
        """Make the head answer `factor · raw + offset` from now on."""
        last = self.head[-1]
        with torch.no_grad():
            last.weight.mul_(factor)
            last.bias.mul_(factor).add_(offset)


def mlp_head(width: int, *, hidden: int, layers: int, dropout: float) -> nn.Sequential:
    """Return `layers` hidden layers of `hidden` units (SiLU, dropout), then one output."""
    parts: list[nn.Module] = []
    for size in [width] + [hidden] * (layers - 1):
        parts += [nn.Linear(size, hidden), nn.SiLU(), nn.Dropout(dropout)]
    return nn.Sequential(*parts, nn.Linear(hidden if layers else width, 1))


def linear_head(width: int) -> nn.Sequential:
    """Return one linear layer that starts at zero: a logistic or linear regression."""
    layer = nn.Linear(width, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer)
