"""The spool's tables and the statements on them. Callers own the transactions."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medtower.adapters import spool_escalations
from medtower.domain.prediction import KINDS, Failure, Recorded
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
NAMES = {kind: name for name, kind in KINDS.items()}
Row = tuple[str, str]
"""The kind of a row, and its JSON."""
MOST_AT_ONCE = 5000  # SQLite takes 32,766 values in one statement
LOCK_SECONDS = 5.0
DIGEST_BYTES = 16  # 2^-128 to take one id for another, at a quarter of the text's size
FORGET_AT_ONCE = 5000
PUT = "INSERT INTO outbox (kind, content, spooled_at) VALUES "
PACKED = """
SELECT kind, max(sequence), count(*), group_concat(content, char(10)), group_concat(DISTINCT substr(content ->> '$.event_time', 1, 10))
FROM (
    SELECT sequence, kind, content, length(CAST(content AS BLOB)) AS bytes, sum(length(CAST(content AS BLOB))) OVER (ORDER BY sequence) AS upto
    FROM (SELECT sequence, kind, content FROM outbox ORDER BY sequence LIMIT ?)
)
WHERE upto - bytes < ? GROUP BY kind
"""
MOST_BYTES = 16 << 20  # packed together; a row with texts may have a megabyte
USED_AMONG = "SELECT request FROM used WHERE request IN "


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
    taken = {place for (place,) in connection.execute(USED_AMONG + f"({_marks('?', len(places))})", places)}
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
        connection.execute(insert + _marks(row_marks, len(new)), values)


def _marks(one: str, count: int) -> str:
    return ", ".join([one] * count)


def put(connection: sqlite3.Connection, items: Sequence[Row], at: float) -> None:
    """Add rows that wait for the database, in their order; up to `MOST_AT_ONCE` are one statement."""
    for start in range(0, len(items), MOST_AT_ONCE):
        some = items[start : start + MOST_AT_ONCE]
        values = [value for kind, content in some for value in (kind, content, at)]
        connection.execute(PUT + _marks("(?, ?, ?)", len(some)), values)


def put_breaker(connection: sqlite3.Connection, failure: Failure, at: float) -> None:
    """Remember that this version's circuit breaker is open."""
    connection.execute(
        "INSERT OR IGNORE INTO breakers VALUES (?, ?, ?, ?)",
        (failure.model, failure.version, failure.digest, at),
    )


def breakers(connection: sqlite3.Connection) -> set[tuple[str, int, str]]:
    """(model, version, digest) of every circuit breaker that has opened."""
    return set(connection.execute("SELECT model, version, digest FROM breakers"))


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


def depth(connection: sqlite3.Connection, now: float) -> tuple[int, float]:
    """Rows that wait and the seconds the oldest has. Rows leave from the front only, so two look-ups count them."""
    row = connection.execute(
        "SELECT sequence, spooled_at, (SELECT max(sequence) FROM outbox) FROM outbox ORDER BY sequence LIMIT 1"
    ).fetchone()
    return (0, 0.0) if row is None else (row[2] - row[0] + 1, max(0.0, now - row[1]))


def probe(connection: sqlite3.Connection, at: float) -> None:
    """One small write."""
    connection.execute("INSERT OR REPLACE INTO probe (one, at) VALUES (1, ?)", (at,))
