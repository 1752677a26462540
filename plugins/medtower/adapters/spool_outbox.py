"""The spool's outbox: rows that wait for the database, and those that it refuses. Callers own the transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medtower.domain.prediction import KINDS, Recorded

NAMES = {kind: name for name, kind in KINDS.items()}
Row = tuple[str, str]
"""The kind of a row, and its JSON."""
MOST_AT_ONCE = 5000  # SQLite takes 32,766 values in one statement
PUT = "INSERT INTO outbox (kind, content, spooled_at) VALUES "
PACKED = """
SELECT kind, max(sequence), count(*), group_concat(content, char(10)), group_concat(DISTINCT substr(CASE WHEN json_valid(content) THEN content ->> '$.event_time' END, 1, 10))
FROM (
    SELECT sequence, kind, content, length(CAST(content AS BLOB)) AS bytes, sum(length(CAST(content AS BLOB))) OVER (ORDER BY sequence) AS upto
    FROM (SELECT sequence, kind, content FROM outbox ORDER BY sequence LIMIT ?)
)
WHERE upto - bytes < ? GROUP BY kind
"""
MOST_BYTES = 16 << 20  # packed together; a row with texts may have a megabyte


@dataclass(frozen=True)
class Waiting:
    """One row that the database does not have yet; `item` is None when it cannot be read."""

    sequence: int
    item: Recorded | None


@dataclass(frozen=True)
class Packed:
    """The rows of one kind that wait, as they are: `lines` has the JSON of one on each line, `days` (YYYY-MM-DD, UTC, separated by commas; None: no row
    has one) those of their events, `last` is the highest sequence number among them."""

    kind: str
    last: int
    count: int
    lines: str
    days: str | None


def marks(one: str, count: int) -> str:
    """`count` rows of placeholders."""
    return ", ".join([one] * count)


def put(connection: sqlite3.Connection, items: Sequence[Row], at: float) -> None:
    """Add rows that wait for the database, in their order; up to `MOST_AT_ONCE` are one statement."""
    for start in range(0, len(items), MOST_AT_ONCE):
        some = items[start : start + MOST_AT_ONCE]
        values = [value for kind, content in some for value in (kind, content, at)]
        connection.execute(PUT + marks("(?, ?, ?)", len(some)), values)


def waiting(connection: sqlite3.Connection, limit: int) -> list[Waiting]:
    """The oldest `limit` rows of the outbox."""
    rows = connection.execute(
        "SELECT sequence, kind, content FROM outbox ORDER BY sequence LIMIT ?", (limit,)
    )
    return [Waiting(sequence, _read(kind, content)) for sequence, kind, content in rows]


def _read(kind: str, content: str) -> Recorded | None:
    try:
        return KINDS[kind].of(content)
    except (KeyError, ValueError):
        return None


def packed(connection: sqlite3.Connection, limit: int) -> list[Packed]:
    """The oldest rows of the outbox by kind: up to `limit`, and as many as begin within `MOST_BYTES`. One statement puts them together, while the interpreter is free for the answers: give it a connection that no answer waits for."""
    return [Packed(*found) for found in connection.execute(PACKED, (limit, MOST_BYTES))]


def set_aside(connection: sqlite3.Connection, refused: Mapping[int, str], at: float) -> None:
    """Keep rows that the database refuses for good (`refused`: why, by sequence number), where nothing is shipped from."""
    connection.executemany(
        "INSERT OR IGNORE INTO rejected SELECT sequence, kind, content, spooled_at, ?, ? FROM outbox WHERE sequence = ?",
        [(why, at, sequence) for sequence, why in refused.items()],
    )


def drop(connection: sqlite3.Connection, upto: int) -> None:
    """Remove the outbox up to `upto`."""
    connection.execute("DELETE FROM outbox WHERE sequence <= ?", (upto,))


def depth(connection: sqlite3.Connection, now: float) -> tuple[int, float]:
    """Rows that wait and the seconds the oldest has. Rows leave from the front only, so two look-ups count them."""
    row = connection.execute(
        "SELECT sequence, spooled_at, (SELECT max(sequence) FROM outbox) FROM outbox ORDER BY sequence LIMIT 1"
    ).fetchone()
    return (0, 0.0) if row is None else (row[2] - row[0] + 1, max(0.0, now - row[1]))
