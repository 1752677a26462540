"""Rows into a table by COPY, through a temporary table, so that what is there already is left as it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg2 import sql
from pydantic import BaseModel

from medtower.adapters.postgres.database import Cursor

_STAGING = sql.SQL(
    "create temporary table staging on commit drop as select {columns} from {table} with no data"
)
# force_null: of the columns `nullable`, an empty text is null although it is quoted.
_COPY = sql.SQL("copy pg_temp.staging ({columns}) from stdin with (format csv{nullable})")


def copy(
    cursor: Cursor,
    table: str,
    columns: Sequence[str],
    items: Iterable[BaseModel],
    insert: sql.SQL,
    *,
    nullable: Sequence[str] = (),
) -> int:
    """Put the fields `columns` of `items` into a temporary table like `table`, run `insert` and return how many rows it made."""
    listed = names(columns)
    cursor.execute(_STAGING.format(columns=listed, table=sql.Identifier("medtower", table)))
    body = io.StringIO()
    csv.writer(body, quoting=csv.QUOTE_ALL).writerows(
        [_text(getattr(item, column)) for column in columns] for item in items
    )
    body.seek(0)
    forced = sql.SQL(", force_null ({})").format(names(nullable)) if nullable else sql.SQL("")
    cursor.copy_expert(_COPY.format(columns=listed, nullable=forced), body)
    cursor.execute(insert.format(columns=listed))
    return cursor.rowcount


def names(columns: Sequence[str]) -> sql.Composed:
    """`columns` as a list for a statement."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _text(value: object) -> str:
    """A value as COPY reads it. None is the empty text; a missing feature is a null inside the array."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "{" + ",".join("NULL" if v is None else repr(v) for v in value) + "}"
    if isinstance(value, dict):
        return json.dumps({name: item.model_dump() for name, item in value.items()})
    return value.isoformat() if isinstance(value, datetime) else str(value)
