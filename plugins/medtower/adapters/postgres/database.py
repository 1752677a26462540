"""One database and one role: transactions with a time limit, and errors that hold no password and no patient's value."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Full, LifoQueue

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from medtower.errors import DeadlineExceeded, InvalidInput, MedtowerError, Refused, Unavailable

OTHER_SCHEMA = "42"  # undefined or ambiguous names: what was sent is not at fault
Cursor = psycopg2.extensions.cursor
Connection = psycopg2.extensions.connection


class Database:
    """May be shared between threads, and survives a restart of the server: every transaction opens a connection of its own, but for `keep`.

    `dsn` is any libpq connection string; it is never shown. `seconds` limits each statement, `connect_seconds` (2 or more) how long a connection may
    take. With `keep` one connection stays open from one transaction to the next (a new one costs the server some 10 ms): it must answer within
    `connect_seconds` before it is used, and a transaction that comes while it is in use opens its own.
    """

    def __init__(
        self, dsn: str, *, seconds: float = 30, connect_seconds: int = 5, keep: bool = False
    ) -> None:
        self._dsn, self._seconds, self._connect_seconds = dsn, seconds, connect_seconds
        self._kept: LifoQueue[Connection] | None = LifoQueue(maxsize=1) if keep else None

    def __repr__(self) -> str:
        return "Database(…)"

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor whose work is committed at the end, or undone when anything is raised.

        Raises Unavailable (not reachable; nothing was changed, except when the connection broke during the commit), DeadlineExceeded, Refused (the role
        may not do this) and InvalidInput (the data break a rule of the schema, and will again).
        """
        try:
            connection = self._taken() or self.connect()
            try:
                with connection, connection.cursor() as cursor:
                    yield cursor
            except BaseException:
                connection.close()
                raise
            self._put_back(connection)
        except psycopg2.Error as problem:
            raise self._translate(problem) from None

    def _taken(self) -> Connection | None:
        """The connection that was kept, if it still answers; nobody else has it then."""
        try:
            connection = self._kept.get_nowait() if self._kept else None
        except Empty:
            return None
        if connection and not _answers(connection, self._connect_seconds):
            connection.close()
            return None
        return connection

    def _put_back(self, connection: Connection) -> None:
        if self._kept is None:
            connection.close()
            return
        try:
            self._kept.put_nowait(connection)
        except Full:  # two transactions have ended
            connection.close()

    def connect(self) -> Connection:
        """A new connection in UTC with the time limit set; the caller closes it. Raises Unavailable."""
        options = (
            f"-c statement_timeout={int(self._seconds * 1000)} -c timezone=UTC -c search_path=pg_catalog"
        )
        try:
            return psycopg2.connect(
                self._dsn,
                connect_timeout=self._connect_seconds,
                keepalives_idle=10,  # a network that is gone is noticed within half a minute,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=25_000,  # also while something that was sent is not acknowledged: no keepalive is sent then
                options=options,
                application_name="medtower",
            )
        except psycopg2.ProgrammingError:
            raise Unavailable(
                "postgres", "the connection string is not a valid one; check MEDTOWER_DSN"
            ) from None
        except psycopg2.OperationalError as problem:
            raise Unavailable("postgres", _why_not_connected(str(problem))) from None

    def _translate(self, problem: psycopg2.Error) -> MedtowerError:
        """The same problem without the server's text, which may quote a row."""
        if isinstance(problem, psycopg2.errors.QueryCanceled | psycopg2.errors.LockNotAvailable):
            return DeadlineExceeded("postgres", self._seconds)
        if isinstance(problem, psycopg2.errors.InsufficientPrivilege):
            return Refused("database-role", problem.diag.message_primary or "this role may not do that")
        if isinstance(problem, psycopg2.OperationalError | psycopg2.InterfaceError):
            return Unavailable("postgres", "the connection broke or the server is stopping")
        if (problem.pgcode or "").startswith(OTHER_SCHEMA):
            why = f"its schema is not the one that this program was written for (SQLSTATE {problem.pgcode}); run the migrations"
            return Unavailable("postgres", why)
        where = problem.diag.constraint_name or problem.diag.table_name or "the statement"
        return InvalidInput(f"postgres refused the data at {where} (SQLSTATE {problem.pgcode})")


def _answers(connection: Connection, seconds: float) -> bool:
    """Whether the server answers within `seconds`; not when it was started again or hangs, or when the network is gone."""
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        # libpq itself would wait for ever
        late = threading.Timer(seconds, wire.shutdown, (socket.SHUT_RDWR,))
        late.start()
        try:
            connection.cursor().execute("select 1")
        except psycopg2.Error:
            return False
        finally:
            late.cancel()
            late.join()
    return True


def _why_not_connected(message: str) -> str:
    """A reason in our words: libpq's text names host, user and database."""
    for sign, reason in {
        "password authentication failed": "it refuses this role's password",
        "no password supplied": "this role's password is missing",
        "does not exist": "the database or role does not exist; create it first",
        "permission denied for database": "this role may not enter the database",
        "too many": "all its connections are taken",
        "starting up": "it is starting up",
        "shutting down": "it is shutting down",
    }.items():
        if sign in message:
            return reason
    return "nothing answers at its address"
