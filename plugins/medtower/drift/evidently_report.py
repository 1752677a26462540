"""Evidently's drift report as one HTML file, for people to look at. The verdict is the engine's, never this page's."""

from __future__ import annotations

import html
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medtower import atomic_file
from medtower.domain.contract import Contract
from medtower.domain.disclaimer import DISCLAIMER
from medtower.drift.features import Feature, features, summarised
from medtower.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 2000  # Evidently costs about 70 ms a column at 5,000 rows
SEED = 0


def write(
    contract: Contract, reference: NDArray[np.floating], current: NDArray[np.floating], path: Path
) -> None:
    """Write the report on two windows [n, width] (as `cohorts.encode.encode` returns them) to `path`, whose folder is made.

    Columns carry the contract's names, categories their levels. At most MAX_ROWS rows of each window, drawn with a fixed seed, are shown.
    A number without any value in one of the windows is left out and named at the top, because Evidently raises on it. Raises InvalidInput
    when a window is empty or has another number of columns.
    """
    if not len(reference) or not len(current):
        raise InvalidInput(
            f"a window has shape {(reference if len(current) else current).shape}; give [n, {contract.width}] with n ≥ 1"
        )
    before, now = (_sample(window) for window in summarised(contract, reference, current))
    named = features(contract)
    shown = [f for k, f in enumerate(named) if _presentable(f, before[:, k], now[:, k])]
    left_out = [f.name for f in named if f not in shown]
    page = _page(shown, _frame(named, before), _frame(named, now)) if shown else "<html><body></body></html>"
    head, tag, body = page.partition("<body>")  # were the tag ever missing, the banner would stand at the end
    atomic_file.write(path, head + tag + _banner(contract, left_out) + body)


def _sample(window: NDArray[np.floating]) -> NDArray[np.floating]:
    rows = np.random.default_rng(SEED).permutation(len(window))[:MAX_ROWS]
    return window[np.sort(rows)]


def _presentable(feature: Feature, before: NDArray[np.floating], now: NDArray[np.floating]) -> bool:
    """Categories always are: a gap is shown as a level of its own."""
    return bool(feature.levels) or bool(np.isfinite(before).any() and np.isfinite(now).any())


def _frame(named: list[Feature], window: NDArray[np.floating]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({f.name: _column(f, window[:, k]) for k, f in enumerate(named)})


def _column(feature: Feature, values: NDArray[np.floating]) -> NDArray[np.floating] | NDArray[np.object_]:
    levels = feature.levels
    if not levels:
        return np.where(np.isfinite(values), values, np.nan)
    names = np.array([*levels, "(other)", "(missing)"], dtype=object)
    missing, known = np.isnan(values), np.isin(values, np.arange(len(levels)))
    return names[np.where(missing, len(levels) + 1, np.where(known, values, len(levels))).astype(np.int64)]


def _page(shown: list[Feature], before: pd.DataFrame, now: pd.DataFrame) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Evidently and what it imports use deprecated interfaces of numpy and litestar
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        numbers = [f.name for f in shown if not f.levels]
        categories = [f.name for f in shown if f.levels]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
        frames = [
            Dataset.from_pandas(f[numbers + categories], data_definition=definition) for f in (now, before)
        ]
        report = Report([DataDriftPreset(num_method="ks", cat_method="chisquare")])
        page: str = report.run(*frames).get_html_str(as_iframe=False)
    return page


def _banner(contract: Contract, left_out: list[str]) -> str:
    lines = [
        f"<strong>{html.escape(contract.title)} ({contract.name})</strong>: inputs in the reference and the current window.",
        "Tests here are single and uncorrected; the drift report's verdict counts.",
        html.escape(DISCLAIMER),
    ]
    if left_out:
        lines.append(f"Not shown, without a value in one of the windows: {', '.join(left_out)}.")
    return f'<header style="font-family: sans-serif; padding: 1em">{"<br>".join(lines)}</header>'
