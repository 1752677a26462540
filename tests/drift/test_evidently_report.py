"""The page for people: written by the real Evidently, with the disclaimer, whatever the columns are like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medtower.domain.disclaimer import DISCLAIMER
from medtower.drift.evidently_report import MAX_ROWS, _sample, write
from medtower.errors import InvalidInput

from .conftest import contract_of, window


def test_the_page_names_the_inputs_and_carries_the_disclaimer(tmp_path: Path) -> None:
    before, now = window(3000, seed=1), window(400, seed=2)
    now[:, 0] += 10
    now[:5, 2] = 9
    path = tmp_path / "sample_risk" / "drift.html"
    write(contract_of(), before, now, path)
    page = path.read_text(encoding="utf-8")
    assert page.index(DISCLAIMER) < page.index('id="root_metric')
    assert "Sample &lt;risk&gt;" in page
    assert all(name in page for name in ("age", "biomarker", "stage", "smoker", "(other)", "(missing)"))
    assert "Not shown" not in page
    assert [p.name for p in path.parent.iterdir()] == ["drift.html"]


def test_empty_and_constant_columns_do_not_stop_it(tmp_path: Path) -> None:
    before, now = window(400, seed=1), window(400, seed=2)
    now[:, 1] = np.nan
    now[:, 2] = np.nan
    before[:, 3], now[:, 3] = 1, 1
    before[:, 0], now[:, 0] = 60, 60
    path = tmp_path / "drift.html"
    write(contract_of(), before, now, path)
    page = path.read_text(encoding="utf-8")
    assert "without a value in one of the windows: biomarker." in page
    assert "stage" in page


def test_nothing_to_show_is_still_a_page(tmp_path: Path) -> None:
    contract = contract_of([contract_of().inputs[1].model_dump()])
    write(contract, np.full((9, 1), np.nan), np.ones((9, 1)), tmp_path / "drift.html")
    assert DISCLAIMER in (tmp_path / "drift.html").read_text(encoding="utf-8")


def test_long_windows_are_sampled_without_order_or_luck() -> None:
    rows = np.arange(5000.0)[:, None]
    assert len(_sample(rows)) == MAX_ROWS
    assert np.array_equal(_sample(rows), _sample(rows))
    assert abs(_sample(rows).mean() - 2500) < 100


@pytest.mark.parametrize("shape", [(0, 4), (9, 3)])
def test_windows_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match=r"give \[n, 4\]"):
        write(contract_of(), np.ones(shape), np.ones((9, 4)), tmp_path / "drift.html")
