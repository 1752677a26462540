"""The rows of an uploaded Parquet file. A small file can say that it holds terabytes, so what it says is checked before a page is read, and text is
kept as dictionaries: a long value that stands in a million rows is in memory once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from medtower.errors import FeatureInvalid
from medtower.gateway.rest.batch.columns import LONGEST_CELL, SUBJECT, Columns, Row

AT_ONCE = 1024
MOST_GROUPS = 10_000
FOOTER_STRING, FOOTER_LIST = 1 << 20, 1 << 20


def rows(path: Path, columns: Columns, *, most_rows: int, most_bytes: int) -> Iterator[Row]:
    """As `csv_rows.rows`. `most_bytes` bounds each row group and all of them together, decompressed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    limits = {"thrift_string_size_limit": FOOTER_STRING, "thrift_container_size_limit": FOOTER_LIST}
    try:
        with pq.ParquetFile(path, **limits) as file:
            _bounded(file.metadata, most_rows, most_bytes)
            schema = file.schema_arrow
            columns.check(schema.names)
            text = [field.name for field in schema if _checked(field).is_text]
        with pq.ParquetFile(path, read_dictionary=text, pre_buffer=False, **limits) as file:
            yield list(schema.names)
            for batch in file.iter_batches(batch_size=AT_ONCE, use_threads=False):
                yield from _rows(batch)
    except (pa.ArrowException, OSError):  # their messages may hold what stands in the file
        raise FeatureInvalid("body", "is not a Parquet file that can be read") from None


def _bounded(metadata: Any, most_rows: int, most_bytes: int) -> None:
    if metadata.num_rows > most_rows:
        raise FeatureInvalid("body", f"must not have more than {most_rows} rows")
    if metadata.num_row_groups > MOST_GROUPS:
        raise FeatureInvalid("body", f"must not have more than {MOST_GROUPS} row groups")
    sizes = [metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)]
    if sum(map(abs, sizes)) > most_bytes:
        raise FeatureInvalid("body", f"must not hold more than {most_bytes} bytes decompressed")


class _Kind:
    def __init__(self, dtype: Any) -> None:
        import pyarrow.types as t

        plain = dtype.value_type if t.is_dictionary(dtype) else dtype
        self.is_text = t.is_string(plain) or t.is_large_string(plain)
        number = t.is_integer(plain) or t.is_floating(plain) or t.is_decimal(plain)
        self.is_plain = (
            self.is_text or number or t.is_boolean(plain) or t.is_timestamp(plain) or t.is_null(plain)
        )
        several = t.is_list(plain) or t.is_large_list(plain) or t.is_fixed_size_list(plain)
        self.is_list = several and _Kind(plain.value_type).is_plain


def _checked(field: Any) -> _Kind:
    kind = _Kind(field.type)
    if not (kind.is_plain or kind.is_list):
        raise FeatureInvalid(field.name, "is a column of a type that no input takes")
    return kind


def _rows(batch: Any) -> Iterator[Row]:
    cells = [_column(batch.column(place), name) for place, name in enumerate(batch.schema.names)]
    for row in zip(*cells, strict=True):
        yield list(row)


def _column(array: Any, name: str) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.DictionaryArray):
        longest = pc.max(pc.binary_length(array.dictionary)).as_py() or 0
        if longest > LONGEST_CELL:
            raise FeatureInvalid(name, f"has a cell of more than {LONGEST_CELL} bytes")
    values = array.to_pylist()
    if name == SUBJECT:
        return [str(value) if isinstance(value, int) else value for value in values]
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """As JSON has it; NaN is missing, as in a tensor."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return None
    return [_plain(item) for item in value] if isinstance(value, list) else value
