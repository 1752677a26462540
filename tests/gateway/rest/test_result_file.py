"""What a spreadsheet would run as a formula is text in the result."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medtower.gateway.rest.batch import result_file


@pytest.mark.parametrize("cell", ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_text_that_looks_like_a_formula_gets_an_apostrophe(tmp_path: Path, cell: str) -> None:
    (tmp_path / "journal").write_text(json.dumps({"row": 1, "label": cell, "prediction": -0.5}) + "\n")
    assert result_file.write(tmp_path / "journal", tmp_path / "result", "csv") == 1
    with (tmp_path / "result").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["prediction"]) == (f"'{cell}", "-0.5")
