"""The spool's tables and the statements on them. Callers own the transactions."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medtower.adapters import spool_escalations
from medtower.adapters.spool_outbox import marks
from medtower.domain.prediction import Failure
from medtower.domain.request_id import MADE

# AUTOINCREMENT: a sequence number is never used again, also when the outbox was empty in between.
SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    spooled_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS rejected (
    sequence INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    content TEXT NOT NULL,
    spooled_at REAL NOT NULL,
    reason TEXT NOT NULL,
    rejected_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS breakers (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    opened_at REAL NOT NULL,
    PRIMARY KEY (model, version, digest)
);
CREATE TABLE IF NOT EXISTS answers (
    sequence INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    answer TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS used (
    sequence INTEGER PRIMARY KEY,
    request BLOB NOT NULL UNIQUE,
    body BLOB NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS probe (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL);
"""
# An outbox of an earlier form took two kinds only. Its sequence goes on: `answers` and `used` hold numbers of rows that have left.
WIDEN = """
BEGIN IMMEDIATE;
ALTER TABLE outbox RENAME TO narrow;
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, content TEXT NOT NULL, spooled_at REAL NOT NULL
);
INSERT INTO outbox SELECT * FROM narrow;
DELETE FROM sqlite_sequence WHERE name = 'outbox';
INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox', seq FROM sqlite_sequence WHERE name = 'narrow';
DROP TABLE narrow;
COMMIT;
"""
# Rows of an earlier form do not say when their request came in; when they were spooled is a fraction of a second later.
RECEIVED = """
UPDATE outbox
SET content = json_set(content, '$.received_at', strftime('%Y-%m-%dT%H:%M:%fZ', spooled_at, 'unixepoch'))
WHERE kind <> 'outcome' AND json_extract(content, '$.received_at') IS NULL
"""
LOCK_SECONDS = 5.0
DIGEST_BYTES = 16  # 2^-128 to take one id for another, at a quarter of the text's size
FORGET_AT_ONCE = 5000
USED_AMONG = "SELECT request FROM used WHERE request IN "


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
        connection.executescript(SCHEMA + spool_escalations.SCHEMA)
        form = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'outbox'").fetchone()[0]
        if "CHECK" in form:
            connection.executescript(WIDEN)
        connection.execute(RECEIVED)
        # a file that was written before `used` was there
        connection.create_function("short", 1, _short, deterministic=True)
        connection.create_function("place", 1, _place, deterministic=True)
        connection.execute(
            "INSERT OR IGNORE INTO used SELECT sequence, place(request_id), short(body_sha256), ? FROM answers "
            "WHERE sequence > (SELECT coalesce(max(sequence), 0) FROM used)",
            (time.time(),),
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def used(connection: sqlite3.Connection, request_id: str, body_sha256: str) -> tuple[int, bool] | None:
    """(sequence number, whether it was for this body) of the request that used `request_id`; None when nobody has, as far as is remembered."""
    row = connection.execute(
        "SELECT sequence, body FROM used WHERE request = ?", (_place(request_id),)
    ).fetchone()
    return None if row is None else (row[0], row[1] == _short(body_sha256))


def sequence_of(connection: sqlite3.Connection, request_id: str) -> int | None:
    """The sequence number of the request that used `request_id`; None when nobody has, as far as is remembered."""
    row = connection.execute("SELECT sequence FROM used WHERE request = ?", (_place(request_id),)).fetchone()
    return None if row is None else row[0]


def answer(connection: sqlite3.Connection, sequence: int) -> str | None:
    """The answer that was kept under this number, None when it has left."""
    row = connection.execute("SELECT answer FROM answers WHERE sequence = ?", (sequence,)).fetchone()
    return None if row is None else row[0]


def _short(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def _place(request_id: str) -> bytes:
    """Where a request id stands in the index. Ids that the gateway made (of compositions and of emergencies) begin with their time and stand for
    themselves, so that the index grows at its end; others are hashed. The first bit keeps the two apart."""
    made = MADE.fullmatch(request_id)
    if made and not made[2]:
        return bytes.fromhex(made[1])
    hashed = _short(request_id)
    return bytes([hashed[0] | 0x80]) + hashed[1:]


@dataclass(frozen=True, slots=True)
class Answered:
    """A prediction that waits for the database (`content` is its JSON), and its answer for whoever asks again."""

    request_id: str
    body_sha256: str
    content: str
    answer: str


def put_answered(connection: sqlite3.Connection, rows: Sequence[Answered], at: float) -> list[bool]:
    """Add `rows`, and say of each whether it was added: not when its request id was used before, by a row of before or of this call.

    Each statement is one for all rows. The interpreter's lock is given up and waited for at every statement, and with a busy event loop it is that
    which takes the time: 16 answers took 64 such waits when each had its own.
    """
    places = [_place(row.request_id) for row in rows]
    taken = {place for (place,) in connection.execute(USED_AMONG + f"({marks('?', len(places))})", places)}
    fresh = []
    for place in places:
        fresh.append(place not in taken)
        taken.add(place)
    new = [(place, row) for place, row, is_new in zip(places, rows, fresh, strict=True) if is_new]
    if new:
        _insert(connection, new, at)
    return fresh


def _insert(connection: sqlite3.Connection, new: Sequence[tuple[bytes, Answered]], at: float) -> None:
    (last,) = connection.execute(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)"
    ).fetchone()
    outbox: list[object] = []
    answers: list[object] = []
    used: list[object] = []
    for sequence, (place, row) in enumerate(new, start=last + 1):
        outbox += (sequence, row.content, at)
        answers += (sequence, row.request_id, row.body_sha256, row.answer)
        used += (sequence, place, _short(row.body_sha256), at)
    for insert, row_marks, values in (
        (
            "INSERT INTO outbox (sequence, kind, content, spooled_at) VALUES ",
            "(?, 'prediction', ?, ?)",
            outbox,
        ),
        ("INSERT INTO answers (sequence, request_id, body_sha256, answer) VALUES ", "(?, ?, ?, ?)", answers),
        ("INSERT INTO used (sequence, request, body, at) VALUES ", "(?, ?, ?, ?)", used),
    ):
        connection.execute(insert + marks(row_marks, len(new)), values)


def put_breaker(connection: sqlite3.Connection, failure: Failure, at: float) -> None:
    """Remember that this version's circuit breaker is open."""
    connection.execute(
        "INSERT OR IGNORE INTO breakers VALUES (?, ?, ?, ?)",
        (failure.model, failure.version, failure.digest, at),
    )


def breakers(connection: sqlite3.Connection) -> set[tuple[str, int, str]]:
    """(model, version, digest) of every circuit breaker that has opened."""
    return set(connection.execute("SELECT model, version, digest FROM breakers"))


def forget(connection: sqlite3.Connection, upto: int, keep: int, forget_before: float) -> None:
    """Keep the last `keep` answers, and every answer of a prediction behind `upto`.

    Request ids used before `forget_before` (Unix time) are forgotten, the oldest first and so many at once that no request waits for it.
    """
    connection.execute(
        "DELETE FROM answers WHERE sequence <= ? "
        "AND sequence <= (SELECT sequence FROM answers ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
        (upto, keep),
    )
    connection.execute(
        "DELETE FROM used WHERE at < ? AND sequence IN (SELECT sequence FROM used ORDER BY sequence LIMIT ?)",
        (forget_before, FORGET_AT_ONCE),
    )


def probe(connection: sqlite3.Connection, at: float) -> None:
    """One small write."""
    connection.execute("INSERT OR REPLACE INTO probe (one, at) VALUES (1, ?)", (at,))
