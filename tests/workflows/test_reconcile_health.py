"""Whether what serves agrees with git: real git, routing table and database; MLflow's alias is noted down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from pydantic import SecretStr
from tests.fixtures.postgres import Cluster
from tests.fixtures.releases import World, contract

from medtower.adapters.postgres import health, incidents
from medtower.audit.chain import ChainBroken
from medtower.domain.incident import Incident
from medtower.domain.routing import Arm, Route, RoutingTable
from medtower.errors import NotFound, Unavailable
from medtower.serving import routing
from medtower.settings import Settings
from medtower.workflows.reconcile_health import reconcile_health
from medtower.workflows.tower import Tower
from medtower.workflows.trail import note

MODEL, OTHER = "sum_model", "other_model"
NOON, QUARTER = datetime(2026, 3, 4, 12, tzinfo=UTC), timedelta(minutes=15)


class Alias:
    """In MLflow's place: `OTHER` was never trained, so nothing is known of it there."""

    def __init__(self) -> None:
        self.champions: dict[str, int | None] = {}
        self.down = False

    def mark_champion(self, model: str, version: int | None) -> None:
        if self.down:
            raise Unavailable("MLflow", "no answer")
        if model == OTHER:
            raise NotFound("what was asked for", "MLflow")
        self.champions[model] = version


class Small(Tower):
    """Two models in git, of which none is released; `alias` is what MLflow was told."""

    def __init__(self, root: Path, cluster: Cluster) -> None:
        self.world, self.alias = World(root, MODEL, OTHER), Alias()
        dsn = SecretStr(cluster.dsn("medtower_airflow"))
        super().__init__(Settings(home=root, dsn=dsn))
        assert self.settings.path("repository") == self.world.root / "models.git"
        vars(self)["registry"] = self.alias

    def serve(self, version: int | None) -> None:
        """The reconciler's routing table, with `version` of MODEL in it or nothing ready."""
        arms = [
            Arm(name="current", version=v, digest="0" * 64, weight=100, contract=contract(MODEL))
            for v in (version,)
            if v is not None
        ]
        routes = {name: Route(model=name, arms=arms if name == MODEL else []) for name in (MODEL, OTHER)}
        table = RoutingTable(commit="0" * 40, published_at=datetime.now(UTC), routes=routes)
        routing.publish(self.settings.path("routing"), table)

    def incidents(self) -> list[Incident]:
        return incidents.find(self.database)


@pytest.fixture
def tower(clean_postgres: Cluster, tmp_path: Path) -> Small:
    return Small(tmp_path, clean_postgres)


def test_where_nothing_is_released_and_nothing_is_published_all_agree_and_the_alias_goes(
    tower: Small,
) -> None:
    assert reconcile_health(tower) == {"compared": 2, "differing": [], "audit_events": 0}
    assert tower.incidents() == []
    assert tower.alias.champions == {MODEL: None}


def test_a_released_version_with_no_table_published_differs(tower: Small) -> None:
    tower.world.promote(MODEL, 1)
    assert reconcile_health(tower)["differing"] == [MODEL]
    (incident,) = tower.incidents()
    assert (incident.model, incident.version, incident.kind) == (MODEL, 1, "reconcile")
    assert incident.summary == "git says version 1, none serves"
    assert tower.alias.champions == {}


def test_the_incident_stays_one_while_it_lasts_and_closes_once_the_model_agrees(tower: Small) -> None:
    tower.world.promote(MODEL, 1)
    tower.serve(None)
    for at in (NOON, NOON + QUARTER, NOON + timedelta(days=1)):
        reconcile_health(tower, at=at)
    assert [(i.opened_at, i.closed_at) for i in tower.incidents()] == [(NOON, None)]
    tower.serve(1)
    end = NOON + timedelta(days=1) + QUARTER
    assert reconcile_health(tower, at=end)["differing"] == []
    assert [(i.closed_at, i.resolution) for i in tower.incidents()] == [(end, "version 1 serves")]
    assert tower.alias.champions == {MODEL: 1}


def test_another_model_s_agreement_and_other_kinds_of_incident_change_nothing(tower: Small) -> None:
    tower.world.promote(MODEL, 1)
    kept = Incident(
        key=f"kpi/{OTHER}/1",
        model=OTHER,
        version=1,
        kind="kpi",
        severity="critical",
        summary="",
        opened_at=datetime.now(UTC),
    )
    incidents.open(tower.database, kept)
    reconcile_health(tower)
    reconcile_health(tower)
    assert [i.closed_at for i in tower.incidents()] == [None, None]


def test_a_difference_that_comes_back_on_the_same_day_is_a_new_incident(tower: Small) -> None:
    tower.world.promote(MODEL, 1)
    for quarters, version in enumerate([None, 1, None]):
        tower.serve(version)
        reconcile_health(tower, at=NOON + quarters * QUARTER)
    found = [(i.opened_at, i.closed_at) for i in tower.incidents()]
    assert found == [(NOON, NOON + QUARTER), (NOON + 2 * QUARTER, None)]


def test_the_audit_trail_is_verified_and_a_difference_told_while_mlflow_is_down(
    tower: Small, clean_postgres: Cluster
) -> None:
    tower.world.promote(MODEL, 1)
    tower.alias.down = True
    note(tower.database, "reconciler", "serves", f"{MODEL} 1")
    with pytest.raises(Unavailable, match="MLflow"):
        reconcile_health(tower)
    assert [i.model for i in tower.incidents()] == [MODEL]
    assert health.last_success(tower.database) == {}
    edit_the_trail(clean_postgres)
    with pytest.raises(ChainBroken, match="event 1"):
        reconcile_health(tower)


def edit_the_trail(cluster: Cluster) -> None:
    """As somebody with the superuser's rights could."""
    connection = psycopg2.connect(cluster.superuser.rsplit("/", 1)[0] + "/medtower")
    with connection, connection.cursor() as cursor:
        cursor.execute("set session_replication_role = replica")
        cursor.execute(
            "update medtower.audit set event = replace(event::text, 'serves', 'served')::json where sequence = 1"
        )
    connection.close()
