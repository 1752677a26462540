"""The rows of an uploaded CSV file (RFC 4180, UTF-8, one header line), each cell as what its input takes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medtower.errors import FeatureInvalid
from medtower.gateway.rest.batch.columns import LONGEST_CELL, Columns, Row

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", re.ASCII)
TRUTH = {"true": True, "false": False}


def rows(path: Path, columns: Columns) -> Iterator[Row]:
    """First the columns, then each row: its cells, or the FeatureInvalid that it is refused with. Raises FeatureInvalid for the whole file.

    Bytes that are not UTF-8 become lone surrogates, which no rule of a field lets pass.
    """
    csv.field_size_limit(LONGEST_CELL)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = csv.reader(file, strict=True)
        header = _header(lines)
        columns.check(header)
        yield header
        dtypes = [columns.dtypes.get(name, "text") for name in header]
        for cells in _cells(lines):
            if isinstance(cells, FeatureInvalid):
                yield cells
            elif len(cells) != len(header):
                yield FeatureInvalid("row", "must have as many cells as the header")
            else:
                yield [value(cell, dtype) for cell, dtype in zip(cells, dtypes, strict=True)]


def _header(lines: Iterator[list[str]]) -> list[str]:
    try:
        return next(lines)
    except StopIteration:
        raise FeatureInvalid("header", "is missing: the file is empty") from None
    except csv.Error:
        raise FeatureInvalid("header", "is not a line of CSV") from None


def _cells(lines: Iterator[list[str]]) -> Iterator[list[str] | FeatureInvalid]:
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error:  # the reader goes on with the next line
            yield FeatureInvalid("row", "is not a line of CSV, or has a cell that is too long")
            continue
        if cells:  # a blank line is no row
            yield cells


def value(cell: str, dtype: str) -> Any:
    """The cell as `dtype` takes it; empty is missing. What cannot be read as that stays text, and the rule of its field refuses it."""
    if not cell:
        return None
    read: Mapping[str, Any] = {"float": _number, "integer": _number, "boolean": _truth, "sequence": _list}
    return read[dtype](cell) if dtype in read else cell


def _number(cell: str) -> float | int | str:
    if not NUMBER.fullmatch(cell):
        return cell
    try:
        return int(cell) if cell.lstrip("-").isdigit() else float(cell)
    except ValueError:  # thousands of digits
        return cell


def _truth(cell: str) -> bool | str:
    return TRUTH.get(cell.lower(), cell)


def _list(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell
