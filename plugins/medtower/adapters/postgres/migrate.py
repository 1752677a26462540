"""Brings the schema `medtower` to the newest migration."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg2 import Error
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from medtower.adapters.postgres.cluster import MEDTOWER_ROLES
from medtower.adapters.postgres.database import Database
from medtower.errors import NotFound, Unavailable

_LOCK = 0x6D656474  # "medt"


def migrate(dsn_owner: str) -> None:
    """Apply what is missing, all of it in one transaction; two at once are safe, the second finds nothing to do. Prints nothing.

    `dsn_owner` is that of the role `medtower_owner`. Raises NotFound when a role of the tower is missing, Unavailable when the server is.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    database = Database(dsn_owner, seconds=120)
    engine = create_engine("postgresql+psycopg2://", creator=database.connect, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            there = set(connection.execute(text("select rolname from pg_roles")).scalars())
            if missing := [role for role in MEDTOWER_ROLES if role not in there]:
                raise NotFound(f"role {', '.join(missing)}", "the Postgres cluster", "create the roles first")
            connection.execute(text("create schema if not exists medtower"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as problem:
        code = problem.orig.pgcode if isinstance(problem.orig, Error) else None
        raise Unavailable("postgres", f"a migration failed and was undone (SQLSTATE {code})") from None
