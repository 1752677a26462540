"""The spool's table of escalations and the statements on it. Callers own the transactions."""

from __future__ import annotations

import sqlite3

from medtower.domain.escalation import Escalation

SCHEMA = """
CREATE TABLE IF NOT EXISTS escalations (
    request_id TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    delivered_at REAL
);
CREATE INDEX IF NOT EXISTS escalations_pending ON escalations (attempts, at) WHERE delivered_at IS NULL;
"""
PENDING, DELIVERED = '"escalation":"pending"', '"escalation":"delivered"'


def put(connection: sqlite3.Connection, escalation: Escalation, at: float) -> None:
    """Add one that nobody has heard of yet."""
    connection.execute(
        "INSERT OR REPLACE INTO escalations (request_id, content, at) VALUES (?, ?, ?)",
        (escalation.request_id, escalation.model_dump_json(), at),
    )


def pending(connection: sqlite3.Connection, limit: int) -> list[Escalation]:
    """Those that wait, the least often tried first: one that is never taken holds up no other."""
    rows = connection.execute(
        "SELECT content FROM escalations WHERE delivered_at IS NULL ORDER BY attempts, at LIMIT ?", (limit,)
    )
    return [Escalation.model_validate_json(content) for (content,) in rows]


def depth(connection: sqlite3.Connection, now: float) -> tuple[int, float]:
    """How many wait, and how many seconds the oldest has."""
    count, oldest = connection.execute(
        "SELECT count(*), min(at) FROM escalations WHERE delivered_at IS NULL"
    ).fetchone()
    return count, 0.0 if oldest is None else max(0.0, now - oldest)


def tried(
    connection: sqlite3.Connection, request_id: str, sequence: int | None, *, delivered: bool, at: float
) -> None:
    """Note one attempt. After one that was `delivered` the answer that is kept for repetition (`sequence`) says so too."""
    connection.execute(
        "UPDATE escalations SET attempts = attempts + 1, delivered_at = coalesce(delivered_at, ?) WHERE request_id = ?",
        (at if delivered else None, request_id),
    )
    if delivered and sequence is not None:
        connection.execute(
            "UPDATE answers SET answer = replace(answer, ?, ?) WHERE sequence = ?",
            (PENDING, DELIVERED, sequence),
        )


def forget(connection: sqlite3.Connection, before: float, limit: int) -> None:
    """Remove what was delivered before that moment (Unix time)."""
    connection.execute(
        "DELETE FROM escalations WHERE request_id IN (SELECT request_id FROM escalations WHERE delivered_at < ? LIMIT ?)",
        (before, limit),
    )
