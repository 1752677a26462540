"""The result of a job as a file of the kind that was sent: a row for each row, in the same order."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from medtower.domain.disclaimer import DISCLAIMER

FIELDS = {
    "row": "int64", "request_id": "string", "model": "string", "version": "int32", "digest": "string", "prediction": "float64", "unit": "string",
    "label": "string", "confidence": "float64", "requires_human_review": "bool", "review_reason": "string", "error": "string", "disclaimer": "string",
}  # fmt: skip
"""The columns, with their types in Parquet."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
AT_ONCE = 10_000


def write(journal: Path, target: Path, kind: str) -> int:
    """Write the lines of `journal` to `target` (kind csv or parquet) and return how many there were."""
    return (_csv if kind == "csv" else _parquet)(_lines(journal), target)


def _lines(journal: Path) -> Iterator[dict[str, Any]]:
    with journal.open("rb") as file:
        for line in file:
            yield {"disclaimer": DISCLAIMER} | json.loads(line)


def _csv(lines: Iterator[dict[str, Any]], target: Path) -> int:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        return sum(1 for line in lines if writer.writerow([harmless(line.get(name)) for name in FIELDS]))


def harmless(value: Any) -> Any:
    """`value` as a cell: a text that a spreadsheet would take for a formula gets an apostrophe before it (CWE-1236)."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value


def _parquet(lines: Iterator[dict[str, Any]], target: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [(name, getattr(pa, {"bool": "bool_"}.get(kind, kind))()) for name, kind in FIELDS.items()]
    )
    count = 0
    with pq.ParquetWriter(target, schema) as writer:
        while part := list(islice(lines, AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(part, schema))
            count += len(part)
    return count
