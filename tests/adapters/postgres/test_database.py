"""Connections, and what an error may say."""

from __future__ import annotations

import os
import signal
import socket
import threading

import psycopg2
import pytest

from medtower.adapters.postgres.cluster import create
from medtower.adapters.postgres.database import Database
from medtower.adapters.postgres.migrate import migrate
from medtower.errors import DeadlineExceeded, InvalidInput, NotFound, Refused, Unavailable


@pytest.fixture
def nobody_listens():
    """A port that is bound and not listened on, so that nobody else can take it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("keep", [False, True])
def test_work_is_undone_when_something_is_raised(clean_postgres, keep):
    database = Database(clean_postgres.dsn("medtower_airflow"), keep=keep)
    with pytest.raises(RuntimeError), database.transaction() as cursor:
        cursor.execute("insert into medtower.health values ('t', '', now())")
        raise RuntimeError
    with database.transaction() as cursor:
        cursor.execute("select count(*) from medtower.health")
        assert cursor.fetchone() == (0,)


def test_a_server_that_is_down_is_named_without_address_user_or_password(nobody_listens):
    database = Database(f"postgresql://medtower_owner:hunter2@127.0.0.1:{nobody_listens}/medtower")
    with pytest.raises(Unavailable) as caught, database.transaction():
        pass
    assert str(caught.value) == "postgres is unavailable: nothing answers at its address"
    assert "hunter2" not in repr(database)


@pytest.mark.parametrize(
    ("password", "database", "reason"),
    [("wrong", "medtower", "refuses this role's password"), (None, "nowhere", "does not exist")],
)
def test_a_refused_login_says_why_and_repeats_nothing(postgres, password, database, reason):
    good = postgres.passwords["medtower_owner"]
    dsn = f"postgresql://medtower_owner:{password or good}@127.0.0.1:{postgres.port}/{database}"
    with pytest.raises(Unavailable, match=reason) as caught, Database(dsn).transaction():
        pass
    assert "medtower_owner" not in str(caught.value)


def test_a_malformed_connection_string_is_not_echoed():
    with (
        pytest.raises(Unavailable, match="MEDTOWER_DSN") as caught,
        Database("hunter2 nonsense").transaction(),
    ):
        pass
    assert "hunter2" not in str(caught.value)


def test_a_statement_over_its_time_is_stopped(postgres):
    database = Database(postgres.dsn("medtower_reader"), seconds=0.1)
    with pytest.raises(DeadlineExceeded, match=r"0\.1 s"), database.transaction() as cursor:
        cursor.execute("select pg_sleep(20)")


def test_a_connection_that_breaks_is_unavailable(postgres):
    with (
        pytest.raises(Unavailable, match="connection broke"),
        Database(postgres.dsn("medtower_reader")).transaction() as cursor,
    ):
        cursor.execute("select pg_terminate_backend(pg_backend_pid())")


def test_bad_data_names_the_rule_and_not_the_value(clean_postgres):
    database = Database(clean_postgres.dsn("medtower_airflow"))
    with (
        pytest.raises(InvalidInput, match="incidents_kind_check") as caught,
        database.transaction() as cursor,
    ):
        cursor.execute(
            "insert into medtower.incidents values ('k', 'm', 1, 'Jane secret', 'warning', 's', now(), null, null)"
        )
    assert "secret" not in str(caught.value)


def test_a_schema_that_lacks_something_is_not_the_fault_of_the_data(clean_postgres):
    database = Database(clean_postgres.dsn("medtower_airflow"))
    with pytest.raises(Unavailable, match="42P01.*run the migrations"), database.transaction() as cursor:
        cursor.execute("insert into medtower.not_there values (1)")


def test_no_statement_parameter_or_row_reaches_the_servers_log(clean_postgres):
    database = Database(clean_postgres.dsn("medtower_airflow"))
    with pytest.raises(InvalidInput), database.transaction() as cursor:
        cursor.execute("insert into medtower.incidents (key, model) values ('patient-4711', 'm')")
    log = (clean_postgres.data.parent / "log").read_text()
    assert 'null value in column "kind"' in log
    assert "patient-4711" not in log


def test_migrating_twice_and_at_once_changes_nothing(postgres):
    problems: list[BaseException] = []

    def run() -> None:
        try:
            migrate(postgres.dsn("medtower_owner"))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    with Database(postgres.dsn("medtower_owner")).transaction() as cursor:
        cursor.execute("select version_num from medtower.alembic_version")
        assert cursor.fetchall() == [("0006",)]


@pytest.fixture
def spare_database(postgres):
    """An empty database called `spare`, owned by medtower_owner."""
    connection = psycopg2.connect(postgres.superuser)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("create database spare owner medtower_owner")
    yield postgres.dsn("medtower_owner", "spare"), connection
    with connection.cursor() as cursor:
        cursor.execute("drop database spare")
    connection.close()


def test_two_first_migrations_at_once_both_succeed(spare_database):
    problems: list[BaseException] = []

    def run() -> None:
        try:
            migrate(spare_database[0])
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []


def test_a_missing_role_is_named_before_anything_is_made(spare_database):
    dsn, superuser = spare_database
    with superuser.cursor() as cursor:
        cursor.execute("alter role medtower_reader rename to medtower_reader_away")
    try:
        with pytest.raises(NotFound, match="medtower_reader"):
            migrate(dsn)
    finally:
        with superuser.cursor() as cursor:
            cursor.execute("alter role medtower_reader_away rename to medtower_reader")
        # renaming keeps a SCRAM password, and nothing was created
    with Database(dsn).transaction() as cursor:
        cursor.execute("select 1 from pg_namespace where nspname = 'medtower'")
        assert cursor.fetchone() is None


def test_a_migration_that_fails_is_undone_and_says_so(spare_database):
    dsn, _ = spare_database
    with Database(dsn).transaction() as cursor:
        cursor.execute("create schema medtower; create table medtower.incidents (in_the_way int)")
    with pytest.raises(Unavailable, match="SQLSTATE 42P07"):
        migrate(dsn)
    with Database(dsn).transaction() as cursor:
        cursor.execute("select to_regclass('medtower.predictions')")
        assert cursor.fetchone() == (None,)


def test_creating_databases_and_roles_again_changes_only_passwords(postgres):
    create(postgres.superuser, passwords=postgres.passwords)
    with Database(postgres.dsn("mlflow", "mlflow")).transaction() as cursor:
        cursor.execute("create table public.own (x int); drop table public.own")


def test_a_role_cannot_enter_anothers_database(postgres):
    with (
        pytest.raises(Unavailable, match="may not enter"),
        Database(postgres.dsn("medtower_gateway", "airflow")).transaction(),
    ):
        pass


def test_creating_on_a_server_that_is_down_is_unavailable(nobody_listens):
    with pytest.raises(Unavailable, match="superuser"):
        create(f"postgresql://postgres:x@127.0.0.1:{nobody_listens}/postgres")


def test_the_application_roles_have_no_power_over_the_server(postgres):
    with Database(postgres.dsn("medtower_reader")).transaction() as cursor:
        cursor.execute(
            "select rolname from pg_roles where rolname !~ '^(pg_|postgres$)'"
            " and (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)"
        )
        assert cursor.fetchall() == []


def test_a_refusal_names_the_table(postgres):
    gateway = Database(postgres.dsn("medtower_gateway"))
    with pytest.raises(Refused, match="denied for table drift"), gateway.transaction() as cursor:
        cursor.execute("select * from medtower.drift")


def backend(database: Database) -> int:
    with database.transaction() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]


def test_a_kept_connection_serves_one_transaction_after_the_other(postgres):
    database = Database(postgres.dsn("medtower_reader"), keep=True)
    first = backend(database)
    assert backend(database) == first
    with database.transaction() as cursor:
        cursor.execute("select pg_backend_pid()")
        assert cursor.fetchone() == (first,)
        assert backend(database) != first  # for another one at the same time


def test_a_connection_is_kept_only_where_it_is_asked_for(postgres):
    database = Database(postgres.dsn("medtower_reader"))
    assert backend(database) != backend(database)


def test_of_two_transactions_that_have_ended_one_connection_is_kept(postgres):
    database = Database(postgres.dsn("medtower_reader"), keep=True)
    with database.transaction(), database.transaction():
        pass
    assert backend(database) == backend(database)


def test_a_connection_that_met_an_error_is_not_kept(postgres):
    database = Database(postgres.dsn("medtower_reader"), keep=True)
    first = backend(database)
    with pytest.raises(RuntimeError), database.transaction():
        raise RuntimeError
    assert backend(database) != first


def test_a_kept_connection_whose_server_hangs_is_replaced(postgres):
    database = Database(postgres.dsn("medtower_reader"), keep=True, connect_seconds=2)
    first = backend(database)
    os.kill(first, signal.SIGSTOP)
    try:
        assert backend(database) != first
    finally:
        os.kill(first, signal.SIGCONT)


def test_a_kept_connection_that_broke_meanwhile_is_replaced(postgres):
    database = Database(postgres.dsn("medtower_reader"), keep=True)
    first = backend(database)
    with Database(postgres.dsn("medtower_reader")).transaction() as cursor:
        cursor.execute("select pg_terminate_backend(%s, 5000)", (first,))
        assert cursor.fetchone() == (True,)
    assert backend(database) != first
