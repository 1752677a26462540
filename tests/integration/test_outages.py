"""MLflow, Postgres or Triton down at each step: one clear error naming the part, nothing half-written, and a later run that succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from tests.fixtures.proxy import Proxy
from tests.fixtures.registry import latest
from tests.fixtures.tower import RunningTower
from tests.fixtures.triton import TritonProcess

from medtower.adapters.triton import Triton
from medtower.domain.audit_event import AuditEvent
from medtower.errors import MedtowerError, Unavailable
from medtower.local import state
from medtower.serving import routing
from medtower.workflows.benchmark import benchmark
from medtower.workflows.detect import detect
from medtower.workflows.proposal import open_proposal
from medtower.workflows.reconcile import Reconciler
from medtower.workflows.reconcile.metrics import ReconcileMetrics
from medtower.workflows.reconcile_health import reconcile_health
from medtower.workflows.reconciler_process import fetch
from medtower.workflows.replay import replay
from medtower.workflows.retrain import needed, retrain
from medtower.workflows.rollback import rollback
from medtower.workflows.smoke import smoke
from medtower.workflows.tower import Tower
from medtower.workflows.track import track
from medtower.workflows.train import train

pytestmark = pytest.mark.tower
NAME = "kidney_outage"
DAYS = 12
PARTS = ("MLflow", "postgres", "Triton")


class Shaky:
    """The tower behind three proxies. `tower` acts as Airflow's role, `writer` as the gateway's; `world` reaches everything directly."""

    def __init__(self, world: RunningTower) -> None:
        ports = world.state.ports
        self.world = world
        self.proxies = {
            part: Proxy(ports[name])
            for part, name in zip(PARTS, ("mlflow", "postgres", "triton_http"), strict=True)
        }
        self.tower, self.writer = self._as("medtower_airflow"), self._as("medtower_gateway")

    def _as(self, role: str) -> Tower:
        found = self.world.state
        ports = {**found.ports, "postgres": self.proxies["postgres"].port}
        dsn = state.credentials(found.home).dsn(found.model_copy(update={"ports": ports}), role)
        return self.world.with_settings(
            mlflow_uri=f"http://{self.proxies['MLflow'].address}",
            triton_url=self.proxies["Triton"].address,
            dsn=SecretStr(dsn),
        )

    def facts(self) -> dict[str, object]:
        """Everything that a half-done step could leave behind: versions, branches, rows and reports."""
        tower, counts = self.world.tower, {}
        with tower.database.transaction() as cursor:
            for table in ("predictions", "outcomes", "performance", "drift", "incidents"):
                cursor.execute(f"select count(*) from medtower.{table} where model = %s", (NAME,))  # noqa: S608
                counts[table] = cursor.fetchone()
        newest = latest(tower.registry, NAME)
        return {
            "version": newest.version if newest else None,
            "branches": tower.repository.branches(),
            "main": tower.repository.head(),
            **counts,
        }


@pytest.fixture(scope="module")
def shaky(tower: RunningTower) -> Iterator[Shaky]:
    """Version 1 serves and has a past; version 2 is trained and passed its gates. MLflow is asked once, not three times, to save minutes."""
    tower.publish(NAME)
    train(tower.tower, NAME, reason="first version")
    tower.promote(NAME, 1)
    tower.wait_served(NAME, 1)
    assert train(tower.tower, NAME, reason="the next version").passed
    found = Shaky(tower)
    replay(found.writer, NAME, days=DAYS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield found
    for proxy in found.proxies.values():
        proxy.cut()


Step = Callable[[Shaky], object]
NOW = datetime.now(UTC)
STEPS: dict[str, Step] = {
    "train": lambda s: train(s.tower, NAME, reason="a test"),
    "train on the record": lambda s: train(s.tower, NAME, reason="a test", window_days=40, until=NOW),
    "retrain": lambda s: retrain(_need(s), s.tower),
    "propose": lambda s: open_proposal(s.tower, NAME, 2),
    "replay": lambda s: replay(s.writer, NAME, days=2, until=NOW - timedelta(days=30)),
    "track": lambda s: track(NAME, s.tower),
    "detect": lambda s: detect(NAME, s.tower),
    "benchmark": lambda s: benchmark(NAME, s.tower, requests=20),
    "reconcile_health": lambda s: reconcile_health(s.tower),
    "smoke": lambda s: smoke(s.tower, NAME),
}
NEEDS = [
    ("train", "MLflow"),
    ("train on the record", "postgres"),
    ("retrain", "postgres"),
    ("propose", "MLflow"),
    ("replay", "Triton"),
    ("replay", "postgres"),
    ("track", "postgres"),
    ("detect", "MLflow"),
    ("detect", "postgres"),
    ("benchmark", "Triton"),
    ("benchmark", "postgres"),
    ("reconcile_health", "MLflow"),
    ("reconcile_health", "postgres"),
    ("smoke", "Triton"),
]


def _need(shaky: Shaky) -> dict[str, object]:
    need = needed(NAME, 40, "a test", shaky.world.tower)[0]
    return {**need, "trigger": f"hand/{NAME}/outage"}


@pytest.mark.parametrize(("step", "part"), NEEDS, ids=[f"{s} without {p}" for s, p in NEEDS])
def test_a_part_that_is_down_stops_the_step_with_its_name_and_nothing_is_half_written(
    shaky: Shaky, step: str, part: str
) -> None:
    before = shaky.facts()
    with shaky.proxies[part].broken(), pytest.raises(Unavailable, match=part) as raised:
        STEPS[step](shaky)
    assert len(str(raised.value).splitlines()) == 1
    assert "password" not in str(raised.value)
    assert shaky.facts() == before


@pytest.mark.parametrize("sent", [3_000, 15_000])
def test_mlflow_that_dies_while_a_version_is_logged_leaves_no_version(shaky: Shaky, sent: int) -> None:
    before = shaky.facts()
    proxy = shaky.proxies["MLflow"]

    def at(step: str) -> None:
        if step == "registration":
            proxy.cut_after(sent)

    try:
        with pytest.raises(Unavailable, match="MLflow"):
            train(shaky.tower, NAME, reason="a test", progress=at)
    finally:
        proxy.mend()
    assert shaky.facts() == before


@pytest.mark.parametrize("step", ["track", "detect", "replay"])
@pytest.mark.parametrize("sent", [500, 3_000])
def test_postgres_that_dies_in_the_middle_of_a_step_is_named_and_the_next_run_completes(
    shaky: Shaky, step: str, sent: int
) -> None:
    proxy = shaky.proxies["postgres"]
    proxy.cut_after(sent)
    try:
        with pytest.raises(Unavailable, match="postgres"):
            STEPS[step](shaky)
    finally:
        proxy.mend()
    assert STEPS[step](shaky)
    again = shaky.facts()
    assert STEPS[step](shaky)
    assert shaky.facts() == again


def test_every_step_succeeds_once_all_parts_are_back(shaky: Shaky) -> None:
    for name, step in STEPS.items():
        assert step(shaky), name
    with shaky.world.tower.database.transaction() as cursor:
        cursor.execute(
            "select count(*), count(distinct request_id) from medtower.predictions where model = %s", (NAME,)
        )
        rows, ids = cursor.fetchone()
    assert rows == ids


def test_a_rollback_needs_none_of_them(shaky: Shaky) -> None:
    with ExitStack() as cuts:
        for proxy in shaky.proxies.values():
            cuts.enter_context(proxy.broken())
        done = rollback(shaky.tower.repository, NAME, "everything else is down")
    assert done.taken_back == 1
    shaky.world.wait_served(NAME, None)


class Own:
    """A reconciler with a store, a routing file and a Triton of its own, over the tower's git and MLflow."""

    def __init__(self, shaky: Shaky, process: TritonProcess, folder: Path) -> None:
        self.proxy, self.shaky, self.events = Proxy(int(process.url.split(":")[1])), shaky, list[AuditEvent]()
        self.triton = Triton(self.proxy.address, process.admin_key, grpc_url=process.grpc_url)
        self.routing = folder / "routing.json"
        self.reconciler = Reconciler(
            repository=shaky.tower.repository.path,
            store=process.store,
            routing_path=self.routing,
            triton=self.triton,
            trust_root=shaky.tower.trust_root,
            environment=shaky.tower.settings.environment,
            fetch=lambda manifest, destination: fetch(shaky.tower, manifest, destination),
            on_event=self.events.append,
            metrics=ReconcileMetrics(CollectorRegistry()),
        )

    def once(self) -> tuple[str | None, int | None]:
        """One pass: the failure's name, and what is routed afterwards."""
        failure = self.reconciler.once().get(NAME).failure
        table = routing.read(self.routing)
        return failure, table.routes[NAME].newest if table else None


@pytest.fixture
def own(shaky: Shaky, triton_process: TritonProcess, tmp_path: Path) -> Iterator[Own]:
    found = Own(shaky, triton_process, tmp_path)
    yield found
    for model in {name for name, _ in found.triton.index()}:
        found.triton.unload(model)
    found.triton.close()
    found.proxy.cut()


def test_a_promotion_waits_for_mlflow_and_for_triton_and_is_then_served(shaky: Shaky, own: Own) -> None:
    assert own.once() == (None, None)
    assert train(shaky.tower, NAME, reason="for the reconciler").passed
    version = latest(shaky.tower.registry, NAME).version
    shaky.world.promote(NAME, version)
    for proxy in (shaky.proxies["MLflow"], own.proxy):
        with proxy.broken():
            failure, routed = own.once()
        assert failure == "unavailable"
        assert routed is None
    assert own.once() == (None, version)
    # what serves goes on without MLflow, and without Triton the route stays where it is
    for proxy, failure in ((shaky.proxies["MLflow"], None), (own.proxy, "unavailable")):
        with proxy.broken():
            assert own.once() == (failure, version)


def test_no_error_of_an_outage_shows_an_address_with_a_password(shaky: Shaky) -> None:
    with shaky.proxies["postgres"].broken(), pytest.raises(MedtowerError) as raised:
        track(NAME, shaky.tower)
    assert "password" not in str(raised.value)
    assert "medtower_airflow" not in str(raised.value)
