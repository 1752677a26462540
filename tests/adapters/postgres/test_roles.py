"""Each role may do what its process needs, and nothing else."""

from __future__ import annotations

import pytest

from medtower.adapters.postgres.database import Database
from medtower.errors import Refused

TABLES = (
    "requests", "predictions", "outcomes", "performance", "drift", "incidents", "health", "audit", "failures", "shadows", "answers",
)  # fmt: skip
ROLES = ("medtower_gateway", "medtower_airflow", "medtower_reconciler", "medtower_reader")
TRACKING = ("performance", "drift", "incidents", "health")
MAY: dict[str, set[tuple[str, str]]] = {
    "medtower_gateway": {
        (t, "INSERT") for t in ("requests", "predictions", "outcomes", "failures", "shadows")
    }
    | {(t, "SELECT") for t in ("requests", "performance", "health")},
    "medtower_airflow": {(t, "SELECT") for t in TABLES}
    | {(t, "INSERT") for t in (*TRACKING, "audit")}
    | {(t, "UPDATE") for t in TRACKING}
    | {("performance", "DELETE")},
    "medtower_reconciler": {(t, "SELECT") for t in (*TRACKING, "audit")} | {("audit", "INSERT")},
    "medtower_reader": {(t, "SELECT") for t in TABLES},
}


@pytest.mark.parametrize("role", ROLES)
def test_the_role_has_exactly_its_grants(postgres, role):
    with Database(postgres.dsn(role)).transaction() as cursor:
        cursor.execute(
            "select t, p from unnest(%s) t, unnest(array['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER']) p"
            " where has_table_privilege('medtower.' || t, p)",
            (list(TABLES),),
        )
        assert set(cursor.fetchall()) == MAY[role]


@pytest.mark.parametrize("relation", ["predictions", "answers"])
def test_the_gateway_reads_of_predictions_what_it_may_show_again(postgres, relation):
    with Database(postgres.dsn("medtower_gateway")).transaction() as cursor:
        cursor.execute(
            "select attname from pg_attribute where attrelid = %(name)s::regclass and attnum > 0"
            " and not has_column_privilege(%(name)s, attname, 'SELECT')",
            {"name": f"medtower.{relation}"},
        )
        assert {name for (name,) in cursor.fetchall()} == {"features", "texts", "body_sha256"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "statement",
    [
        "delete from medtower.predictions",
        "delete from medtower.outcomes",
        "update medtower.outcomes set value = 1",
        "update medtower.audit set digest = ''",
        "delete from medtower.audit",
        "truncate medtower.audit",
        "alter table medtower.audit disable trigger all",
        "drop table medtower.audit",
        "create table medtower.mine (x int)",
        "create table public.mine (x int)",
        "create role more",
        "set role medtower_owner",
        "delete from medtower.incidents",
        "copy medtower.audit to program 'cat'",
        "select pg_read_file('PG_VERSION')",
    ],
)
def test_no_role_can(postgres, role, statement):
    database = Database(postgres.dsn(role))
    with pytest.raises(Refused, match=r"permission denied|must be owner"), database.transaction() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("medtower_gateway", "select * from medtower.predictions"),
        ("medtower_gateway", "select features from medtower.predictions"),
        ("medtower_gateway", "select texts from medtower.predictions"),
        ("medtower_gateway", "select body_sha256 from medtower.predictions"),
        ("medtower_gateway", "select * from medtower.predictions_20260301"),
        ("medtower_gateway", "select * from medtower.outcomes"),
        ("medtower_gateway", "select value from medtower.outcomes"),
        ("medtower_gateway", "select subject from medtower.failures"),
        ("medtower_gateway", "select * from medtower.drift"),
        ("medtower_gateway", "select * from medtower.audit"),
        ("medtower_gateway", "insert into medtower.audit values (1, '{}', '', '')"),
        ("medtower_airflow", "insert into medtower.predictions (request_id) values ('x')"),
        ("medtower_airflow", "insert into medtower.outcomes (request_id) values ('x')"),
        ("medtower_airflow", "select medtower.ensure_partitions('2026-01-01', '2026-01-02')"),
        ("medtower_reconciler", "select * from medtower.predictions"),
        ("medtower_gateway", "select * from medtower.shadows"),
        ("medtower_gateway", "update medtower.shadows set review = 'current'"),
        ("medtower_airflow", "update medtower.shadows set disagrees = false"),
        ("medtower_airflow", "insert into medtower.failures (request_id) values ('x')"),
        ("medtower_airflow", "select medtower.reused('{}', '{}')"),
        ("medtower_reconciler", "select * from medtower.failures"),
        ("medtower_reader", "update medtower.shadows set review = 'current'"),
        ("medtower_reconciler", "select * from medtower.labelled('m', 1, now(), now(), now())"),
        ("medtower_reconciler", "insert into medtower.health values ('t', '', now())"),
        ("medtower_reader", "insert into medtower.health values ('t', '', now())"),
        ("medtower_reader", "insert into medtower.audit values (1, '{}', '', '')"),
    ],
)
def test_this_role_cannot(postgres, role, statement):
    with Database(postgres.dsn("medtower_gateway")).transaction() as cursor:  # the day that one of them names
        cursor.execute("select medtower.ensure_partitions('2026-03-01', '2026-03-01')")
    database = Database(postgres.dsn(role))
    with pytest.raises(Refused, match="permission denied"), database.transaction() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("table", ["audit", "outcomes"])
@pytest.mark.parametrize("verb", ["truncate medtower.{}", "delete from medtower.{}"])
def test_not_even_the_owner_takes_a_record_away(clean_postgres, table, verb):
    owner = Database(clean_postgres.dsn("medtower_owner"))
    with owner.transaction() as cursor:
        cursor.execute(
            "insert into medtower.outcomes (request_id, model, value, observed_at, arrived_at, source)"
            " values ('r', 'm', 1, now(), now(), 's')"
        )
        body = '{"event":{},"previous":"' + "0" * 64 + '","sequence":1}'
        cursor.execute(
            "insert into medtower.audit values (1, '{}', repeat('0', 64), encode(sha256(%s::bytea), 'hex'))",
            (body.encode(),),
        )
    with pytest.raises(Refused, match="append-only"), owner.transaction() as cursor:
        cursor.execute(verb.format(table))
