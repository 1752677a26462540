"""The spool's tables and the statements on them. Callers own the transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medtower.domain.prediction import Outcome, Prediction

# AUTOINCREMENT: a sequence number is never used again, also when the outbox was empty in between.
SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('prediction', 'outcome')),
    content TEXT NOT NULL,
    spooled_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS answers (
    sequence INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    body_sha256 TEXT NOT NULL,
    answer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS probe (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL);
"""
LOCK_SECONDS = 5.0


@dataclass(frozen=True)
class Waiting:
    """One row that the database does not have yet."""

    sequence: int
    item: Prediction | Outcome


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are durable. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={64 << 20}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Make the tables where they are missing and return `connection`; closes it on sqlite3.Error."""
    try:
        connection.executescript(SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def answer(connection: sqlite3.Connection, request_id: str) -> tuple[str, str] | None:
    """(body_sha256, answer) of a request that was answered, or None."""
    row: tuple[str, str] | None = connection.execute(
        "SELECT body_sha256, answer FROM answers WHERE request_id = ?", (request_id,)
    ).fetchone()
    return row


def put_prediction(
    connection: sqlite3.Connection, prediction: Prediction, content: str, answer: str, at: float
) -> None:
    """Add a prediction (`content` is its JSON) that waits for the database, and its answer for whoever asks again."""
    sequence = connection.execute(
        "INSERT INTO outbox (kind, content, spooled_at) VALUES ('prediction', ?, ?)",
        (content, at),
    ).lastrowid
    connection.execute(
        "INSERT INTO answers (sequence, request_id, body_sha256, answer) VALUES (?, ?, ?, ?)",
        (sequence, prediction.request_id, prediction.body_sha256, answer),
    )


def put_outcomes(connection: sqlite3.Connection, contents: Sequence[str], at: float) -> None:
    """Add outcomes (JSON each) that wait for the database."""
    connection.executemany(
        "INSERT INTO outbox (kind, content, spooled_at) VALUES ('outcome', ?, ?)",
        [(content, at) for content in contents],
    )


def waiting(connection: sqlite3.Connection, limit: int) -> list[Waiting]:
    """The oldest `limit` rows of the outbox."""
    rows = connection.execute(
        "SELECT sequence, kind, content FROM outbox ORDER BY sequence LIMIT ?", (limit,)
    )
    kinds: dict[str, type[Prediction] | type[Outcome]] = {"prediction": Prediction, "outcome": Outcome}
    return [Waiting(sequence, kinds[kind].model_validate_json(content)) for sequence, kind, content in rows]


def drop(connection: sqlite3.Connection, upto: int, keep: int) -> None:
    """Remove the outbox up to `upto`; keep the last `keep` answers, and every answer whose prediction still waits."""
    connection.execute("DELETE FROM outbox WHERE sequence <= ?", (upto,))
    connection.execute(
        "DELETE FROM answers WHERE sequence <= ? "
        "AND sequence <= (SELECT sequence FROM answers ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
        (upto, keep),
    )


def depth(connection: sqlite3.Connection, now: float) -> tuple[int, float]:
    """Rows that wait and the seconds the oldest has. Rows leave from the front only, so two look-ups count them."""
    row = connection.execute(
        "SELECT sequence, spooled_at, (SELECT max(sequence) FROM outbox) FROM outbox ORDER BY sequence LIMIT 1"
    ).fetchone()
    return (0, 0.0) if row is None else (row[2] - row[0] + 1, max(0.0, now - row[1]))


def probe(connection: sqlite3.Connection, at: float) -> None:
    """One small write."""
    connection.execute("INSERT OR REPLACE INTO probe (one, at) VALUES (1, ?)", (at,))
