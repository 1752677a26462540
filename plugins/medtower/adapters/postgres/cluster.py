"""Databases and login roles of a Postgres cluster: what the superuser does once, before the migrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from medtower.errors import Unavailable

OWNERS = {"airflow": "airflow", "mlflow": "mlflow", "medtower": "medtower_owner"}
MEDTOWER_ROLES = (
    "medtower_owner",
    "medtower_gateway",
    "medtower_airflow",
    "medtower_reconciler",
    "medtower_reader",
)
ROLES = ("airflow", "mlflow", *MEDTOWER_ROLES)

Connection = psycopg2.extensions.connection


def create(
    dsn_superuser: str, databases: Sequence[str] = tuple(OWNERS), passwords: Mapping[str, str] | None = None
) -> None:
    """Create the login roles of `passwords` (or set their passwords) and the databases, each closed to everyone but its own roles.

    Only SCRAM verifiers travel to the server, so no log can hold a password. Raises Unavailable when the server does not answer.
    """
    try:
        connection = psycopg2.connect(dsn_superuser, connect_timeout=5)
    except psycopg2.OperationalError:
        raise Unavailable("postgres", "it does not accept the superuser's connection") from None
    try:
        connection.autocommit = True
        for role, password in (passwords or {}).items():
            _role(connection, role, password)
        for database in databases:
            _database(connection, database)
    finally:
        connection.close()


def data_directory(dsn_superuser: str) -> Path | None:
    """Where the server that answers keeps its data; None while none accepts the superuser's connection."""
    try:
        connection = psycopg2.connect(dsn_superuser, connect_timeout=5)
    except psycopg2.OperationalError:
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute("show data_directory")
            row = cursor.fetchone()
            return Path(row[0]) if row else None
    finally:
        connection.close()


def _role(connection: Connection, role: str, password: str) -> None:
    if not _exists(connection, "pg_roles", "rolname", role):
        _run(connection, "create role {}", role)
    verifier = encrypt_password(password, role, connection, "scram-sha-256")
    limits = "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"
    _run(connection, f"alter role {{}} {limits} password {{}}", role, literal=verifier)


def _database(connection: Connection, database: str) -> None:
    if not _exists(connection, "pg_database", "datname", database):
        _run(connection, "create database {} owner {}", database, OWNERS.get(database, database))
    _run(connection, "revoke all on database {} from public", database)
    if database != "medtower":
        return
    for role in MEDTOWER_ROLES:
        _run(connection, "grant connect on database {} to {}", database, role)
    # COPY goes through a temporary table, so that a row that is there already is skipped
    _run(connection, "grant temporary on database {} to {}", database, "medtower_gateway")


def _exists(connection: Connection, table: str, column: str, name: str) -> bool:
    statement = sql.SQL("select 1 from {} where {} = %s").format(
        sql.Identifier(table), sql.Identifier(column)
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, (name,))
        return cursor.fetchone() is not None


def _run(connection: Connection, statement: str, *names: str, literal: str | None = None) -> None:
    parts: list[sql.Composable] = [sql.Identifier(name) for name in names]
    if literal is not None:
        parts.append(sql.Literal(literal))
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*parts))
