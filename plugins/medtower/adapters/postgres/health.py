"""When each task last finished well; what the dead-man's alerts read."""

from __future__ import annotations

from datetime import datetime

from medtower.adapters.postgres.database import Database


def record(database: Database, task: str, finished_at: datetime, *, model: str = "") -> None:
    """Note a success of `task` (for `model`, where it is about one). An earlier time never replaces a later one."""
    with database.transaction() as cursor:
        cursor.execute(
            "insert into medtower.health (task, model, finished_at) values (%s, %s, %s) on conflict (task, model)"
            " do update set finished_at = greatest(health.finished_at, excluded.finished_at)",
            (task, model, finished_at),
        )


def last_success(database: Database) -> dict[tuple[str, str], datetime]:
    """The last success by (task, model); model is empty where a task is about none."""
    with database.transaction() as cursor:
        cursor.execute("select task, model, finished_at from medtower.health order by task, model")
        return {(task, model): finished_at for task, model, finished_at in cursor.fetchall()}
