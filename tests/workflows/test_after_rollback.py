"""What follows a rollback: real git, reconciler, Triton and Postgres; the gateway's one answer is played."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from tests.fixtures.postgres import Cluster
from tests.fixtures.proxy import Proxy
from tests.fixtures.reconciler import Scene
from tests.fixtures.releases import GRADUAL

from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres import incidents
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.domain.check import Check
from medtower.domain.incident import Incident
from medtower.domain.prediction import Failure, Prediction
from medtower.domain.routing import Arm, Route, RoutingTable
from medtower.errors import Unavailable
from medtower.local.postgres import dsn
from medtower.serving import routing
from medtower.settings import Settings
from medtower.statistics.intervals import newcombe
from medtower.statistics.quantile import quantile_interval
from medtower.workflows import take_back as take_back_module
from medtower.workflows.after_rollback import closes, settle
from medtower.workflows.deactivate import deactivate
from medtower.workflows.reconcile_health import reconcile_health
from medtower.workflows.rollback import rollback
from medtower.workflows.rollback_checks import FEWEST, LATENCY, SHOWN, checks
from medtower.workflows.rollback_history import rollbacks
from medtower.workflows.take_back import take_back
from medtower.workflows.tower import Tower

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NAMES = [
    "routed",
    "version loaded",
    "golden predictions match",
    "endpoint answers",
    "no errors",
    "metrics steady",
]
NONE_CAME = {"no errors": None, "metrics steady": None}


class Gateway(ThreadingHTTPServer):
    """Answers which digests it serves: by the routing table at `path`, or `told` instead."""

    def __init__(self, path: Path) -> None:
        self.path, self.told = path, dict[str, list[str]]()
        super().__init__(("127.0.0.1", 0), Handler)

    def cards(self) -> list[dict[str, object]]:
        served = {
            n: [a.digest for a in r.arms] for n, r in routing.read(self.path).routes.items()
        } | self.told
        return [{"name": n, "released": [{"digest": d} for d in digests]} for n, digests in served.items()]


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        content = json.dumps({"models": self.server.cards()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' output."""


class Registry:
    def mark_champion(self, *_: object) -> None:
        """MLflow's alias has tests of its own."""


class Clinic:
    """A tower of one model whose version 1 was released and reconciled, and whose version 2 is rolled out to 10 %."""

    def __init__(self, root: Path, scene: Scene, cluster: Cluster, gateway: Gateway) -> None:
        self.scene, self.gateway, self.model = scene, gateway, scene.model
        self.repository = scene.world.repository
        self.settings = Settings(
            home=root,
            repository=self.repository.path,
            routing=scene.routing,
            dsn=SecretStr(cluster.dsn("medtower_airflow")),
            gateway_url=f"http://127.0.0.1:{gateway.server_port}",
            mlflow_uri="http://127.0.0.1:1",
        )
        self.writer = PredictionStore(cluster.dsn("medtower_gateway"))
        scene.promote(1)
        self.promotion = scene.promote(2, GRADUAL)
        assert scene.once() == "ok"

    def tower(self, **changes: object) -> Tower:
        found = Tower(self.settings.model_copy(update=changes))
        vars(found)["triton"], vars(found)["registry"] = self.scene.triton, Registry()
        return found

    def revert(self) -> None:
        """By hand, and the reconciler follows."""
        self.scene.world.revert(self.promotion)
        assert self.scene.once() == "ok"

    def checked(self, now: datetime | None = None, tower: Tower | None = None) -> dict[str, bool | None]:
        done = rollbacks(self.repository, self.model)[-1]
        found = checks(tower or self.tower(), done, now or datetime.now(UTC))
        return {c.name: c.passed for c in found}

    def incidents(self) -> list[Incident]:
        return [i for i in incidents.find(self.tower().database, self.model) if i.kind == "rollback"]

    def answer(self, n: int, start: datetime, *, score: float = 0.0, latency: float = 5.0) -> None:
        """`n` answers of version 1 in the minute after `start`, spread around `score`."""
        made = [
            Prediction(
                request_id=f"{start.timestamp()}-{i}",
                model=self.model,
                version=1,
                digest="0" * 64,
                arm="current",
                subject=f"p{i}",
                event_time=start + MINUTE * i / n,
                received_at=start + MINUTE * i / n,
                features=[1.0],
                prediction=score + (i % 10) / 10,
                confidence=0.9,
                requires_human_review=False,
                latency_ms=latency + i / n,
            )
            for i in range(n)
        ]
        self.writer.write(made)


@pytest.fixture
def gateway(scene: Scene) -> Iterator[Gateway]:
    server = Gateway(scene.routing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clinic(tmp_path: Path, scene: Scene, clean_postgres: Cluster, gateway: Gateway) -> Clinic:
    return Clinic(tmp_path, scene, clean_postgres, gateway)


def test_a_plain_git_revert_is_found_by_reconcile_health_validated_and_told(clinic: Clinic) -> None:
    clinic.revert()
    reconcile_health(clinic.tower())
    (incident,) = clinic.incidents()
    assert (incident.version, incident.severity, incident.closed_at) == (2, "critical", None)
    assert incident.summary.startswith('version 2 was taken back, version 1 is released: Revert "Promote')
    (page,) = (clinic.settings.home / "reports" / clinic.model).glob("rollback-*.html")
    assert "answers 16 rows as signed" in page.read_text()
    assert "no request came lately" in page.read_text()
    (event,) = [e.event for e in rows.read(clinic.tower().database) if e.event.action == "takes back"]
    assert (event.actor, event.subject, event.details["to"]) == ("git", f"{clinic.model} 2", 1)
    # whatever only requests can tell is waited for one day
    settle(clinic.tower(), clinic.model, now=datetime.now(UTC) + DAY - 5 * MINUTE)
    assert clinic.incidents()[0].closed_at is None
    settle(clinic.tower(), clinic.model, now=datetime.now(UTC) + DAY)
    (closed,) = clinic.incidents()
    assert closed.closed_at is not None
    assert closed.resolution is not None
    assert "routed: passed" in closed.resolution
    assert settle(clinic.tower(), clinic.model) == []


def test_a_rollback_that_is_validated_by_requests_too_closes_at_once(clinic: Clinic) -> None:
    now = datetime.now(UTC)
    clinic.answer(SHOWN, now - DAY)
    clinic.revert()
    clinic.answer(SHOWN, datetime.now(UTC))
    later = datetime.now(UTC) + 5 * MINUTE
    assert clinic.checked(later) == dict.fromkeys(NAMES, True)
    settle(clinic.tower(), clinic.model, now=later)
    assert [i.closed_at for i in clinic.incidents()] == [later]


def test_nothing_is_known_while_the_reconciler_has_not_seen_the_commit(clinic: Clinic) -> None:
    clinic.scene.world.revert(clinic.promotion)
    assert clinic.checked() == dict.fromkeys(NAMES[:4]) | NONE_CAME
    clinic.scene.routing.unlink()
    assert clinic.checked() == dict.fromkeys(NAMES[:4]) | NONE_CAME


def test_a_part_that_is_down_is_not_known_and_never_passed(clinic: Clinic) -> None:
    clinic.revert()
    known = dict.fromkeys(NAMES[:4], True) | NONE_CAME
    assert clinic.checked() == known
    assert clinic.checked(tower=clinic.tower(gateway_url="http://127.0.0.1:1")) == known | {NAMES[3]: None}
    deaf = clinic.tower()
    vars(deaf)["triton"] = Tower(clinic.settings.model_copy(update={"triton_url": "127.0.0.1:1"})).triton
    assert clinic.checked(tower=deaf) == known | {"version loaded": None, "golden predictions match": None}
    deaf.triton.close()
    gone = SecretStr("host=127.0.0.1 port=1 dbname=medtower user=medtower_airflow")
    assert clinic.checked(tower=clinic.tower(dsn=gone)) == known


def test_a_version_that_still_gets_requests_is_seen_here_and_at_the_gateway(clinic: Clinic) -> None:
    clinic.revert()
    table = routing.read(clinic.scene.routing)
    (arm,) = table.routes[clinic.model].arms
    clinic.gateway.told = {clinic.model: ["f" * 64]}
    assert clinic.checked()["endpoint answers"] is False
    clinic.gateway.told = {}
    bad = Route(model=clinic.model, arms=[Arm(**{**dict(arm), "version": 2})])
    routing.publish(clinic.scene.routing, RoutingTable(**{**dict(table), "routes": {clinic.model: bad}}))
    assert clinic.checked()["routed"] is False
    settle(clinic.tower(), clinic.model, now=datetime.now(UTC) + 2 * DAY)
    assert [i.closed_at for i in clinic.incidents()] == [None]


def test_other_answers_than_the_signed_ones_fail(clinic: Clinic) -> None:
    clinic.revert()
    place = f"triton_models/{clinic.model}/dossiers/1/golden.json"
    signed = json.loads(str(clinic.repository.read("main", place), "utf-8"))
    clinic.scene.world.write(place, json.dumps({**signed, "expected": [99.0] * len(signed["expected"])}))
    assert clinic.checked()["golden predictions match"] is False


def test_a_version_that_is_not_loaded_fails(clinic: Clinic) -> None:
    clinic.revert()
    clinic.scene.triton.unload(clinic.model)
    assert clinic.checked()["version loaded"] is False


def test_other_answers_and_slower_answers_than_before_are_not_steady(clinic: Clinic) -> None:
    now = datetime.now(UTC)
    clinic.answer(100, now - DAY)
    clinic.revert()
    clinic.answer(29, datetime.now(UTC))
    later = datetime.now(UTC) + 5 * MINUTE
    assert clinic.checked(later)["metrics steady"] is None
    clinic.answer(SHOWN - 30, datetime.now(UTC) + MINUTE / 2)
    assert clinic.checked(later)["metrics steady"] is None
    clinic.answer(1, datetime.now(UTC) + MINUTE)
    assert clinic.checked(later)["metrics steady"] is True
    clinic.answer(400, datetime.now(UTC) + MINUTE, latency=50)
    assert clinic.checked(later)["metrics steady"] is False


def test_answers_that_moved_are_not_steady(clinic: Clinic) -> None:
    clinic.answer(100, datetime.now(UTC) - DAY)
    clinic.revert()
    clinic.answer(100, datetime.now(UTC), score=0.4)
    assert clinic.checked(datetime.now(UTC) + 5 * MINUTE)["metrics steady"] is False


def test_as_many_answers_as_show_that_they_are_steady_would_show_that_they_are_not() -> None:
    """A change of 20 points in the share of high answers in 4 of 5 cases, and any 95th percentile that has no answer in common."""
    rng = np.random.default_rng(7)
    old, new = rng.binomial(SHOWN, 0.5, 2000), rng.binomial(SHOWN, 0.7, 2000)
    apart = [newcombe(int(a), SHOWN, int(b), SHOWN).lower > 0 for a, b in zip(new, old, strict=True)]
    assert np.mean(apart) > 0.8
    assert quantile_interval(np.arange(float(SHOWN)), LATENCY) is not None


def test_few_answers_that_moved_far_are_not_steady(clinic: Clinic) -> None:
    clinic.answer(100, datetime.now(UTC) - DAY)
    clinic.revert()
    clinic.answer(FEWEST, datetime.now(UTC), score=0.9)
    assert clinic.checked(datetime.now(UTC) + 5 * MINUTE)["metrics steady"] is False


def test_an_error_counts_for_an_hour(clinic: Clinic) -> None:
    clinic.revert()
    start = datetime.now(UTC)
    clinic.writer.write(
        [
            Failure(
                request_id="bad",
                model=clinic.model,
                version=1,
                digest="0" * 64,
                arm="current",
                subject="p",
                event_time=start,
                received_at=start,
                code=502,
                latency_ms=1,
            )
        ]
    )
    clinic.answer(5, start + 2 * MINUTE)
    assert clinic.checked(start + 5 * MINUTE)["no errors"] is False
    assert clinic.checked(start + 61 * MINUTE)["no errors"] is True


def test_a_rollback_of_the_only_version_is_whole_when_nobody_is_routed(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(take_back_module, "RECONCILER_SECONDS", 0.0)
    clinic.revert()
    take_back(clinic.tower(), clinic.model, "nothing may serve")
    last, first = sorted(clinic.incidents(), key=lambda i: i.version or 0)
    assert first.closed_at is not None
    assert "the release was changed again by" in str(first.resolution)
    assert last.closed_at is None  # no reconciler ran
    assert clinic.scene.once() == "ok"
    assert clinic.checked() == {"routed": True, "endpoint answers": True}
    settle(clinic.tower(), clinic.model)
    assert all(i.closed_at for i in clinic.incidents())


def test_the_history_tells_what_was_taken_back_and_how_it_went_on(clinic: Clinic) -> None:
    gone = deactivate(clinic.repository, clinic.model, "recalled")
    clinic.scene.promote(3)
    assert rollback(clinic.repository, clinic.model, "again", version=3).to is None
    first, second = rollbacks(clinic.repository, clinic.model)
    assert (first.versions, first.to, first.commit, first.promoted_by) == (
        (1, 2),
        None,
        gone,
        clinic.promotion,
    )
    assert (second.versions, second.to, second.followed_by) == ((3,), None, None)
    assert first.followed_by == second.promoted_by


def test_with_postgres_down_the_commit_stands_and_the_report_comes_later(
    clinic: Clinic, clean_postgres: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = Proxy(clean_postgres.port)
    through = dsn(proxy.port, "medtower_airflow", clean_postgres.passwords["medtower_airflow"], "medtower")
    tower = clinic.tower(dsn=SecretStr(through))
    clinic.scene.routing.unlink()  # nobody to wait for
    with proxy.broken():
        done = take_back(tower, clinic.model, "bad")
        with pytest.raises(Unavailable, match="postgres"):
            settle(tower, clinic.model)
    assert clinic.repository.head() == done.commit
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        "the rollback stands; its report comes later"
    ]
    assert settle(tower, clinic.model) == [f"rollback/{clinic.model}/{done.commit[:12]}"]
    assert len(clinic.incidents()) == 1
    proxy.cut()


@pytest.mark.parametrize(
    ("passed", "hours", "ends"),
    [
        ({}, 0, True),
        ({"no errors": None}, 0, False),
        ({"no errors": None}, 24, True),
        ({"routed": None}, 99, False),
        ({"no errors": False}, 99, False),
        ({"routed": False, "no errors": None}, 99, False),
    ],
)
def test_an_incident_ends_when_all_passed_or_when_only_requests_are_missing_for_a_day(
    passed: dict[str, bool | None], hours: float, ends: bool
) -> None:
    found = [Check(name=n, passed=p, told="") for n, p in (dict.fromkeys(NAMES, True) | passed).items()]
    assert closes(found, timedelta(hours=hours)) is ends
