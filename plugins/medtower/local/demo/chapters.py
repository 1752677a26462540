"""The chapters of the demo. Real parts only: what is shown is what happened."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from medtower.adapters.airflow_api import Airflow
from medtower.errors import MedtowerError
from medtower.local import health, state
from medtower.local.demo import approvers
from medtower.local.demo.client import Client
from medtower.local.demo.steps import Telling
from medtower.local.state import TowerState
from medtower.serving import routing
from medtower.settings import Settings
from medtower.workflows.approve import approve
from medtower.workflows.merge import merge
from medtower.workflows.proposal import open_proposal
from medtower.workflows.replay import replay
from medtower.workflows.tower import Tower
from medtower.workflows.train import Trained, train

DAGS = ("track_performance", "detect_drift", "retrain", "benchmark", "reconcile_health")
WATCHED = ("track_performance", "detect_drift", "retrain")


@dataclass
class Model:
    """What the summary says of one model."""

    versions: dict[int, str] = field(default_factory=dict)
    predictions: int = 0
    labels: int = 0
    status: str = ""
    drifted: int = 0


class Story:
    """The demo on one running tower."""

    def __init__(self, tower_state: TowerState, chosen: Settings, telling: Telling, days: int) -> None:
        self.state, self.telling, self.days = tower_state, telling, days
        self.tower = Tower(chosen)
        secrets = state.credentials(tower_state.home)
        self.airflow = Airflow(tower_state.url("airflow"), "admin", secrets.airflow_admin)
        writer = chosen.model_copy(update={"dsn": _secret(secrets.dsn(tower_state, "medtower_gateway"))})
        self.writer = Tower(writer)
        self.models: dict[str, Model] = {}
        self.revert_seconds: float | None = None
        self.failed_requests = 0
        self.requests = 0
        self.hero = ""

    def tell(self) -> None:
        self.champions()
        self.ninety_days()
        self.watch_and_retrain()
        self.promote_the_retrained()
        self.bad_version_and_revert()

    # -- 1 and 2: champions ------------------------------------------------------------------------------------------------

    def champions(self) -> None:
        """Train, propose, sign and merge the first version of every model."""
        trained: list[Trained] = []
        for name in self.tower.names():
            self.models[name] = Model()
            with self.telling.step(f"Train {name}: cohort, expectations, torch, ONNX, gates, MLflow") as step:
                made = train(self.tower, name, reason="first version", progress=self.telling.now)
                step.result = _headline(made)
                self.models[name].versions[made.version] = "champion"
            trained.append(made)
        with self.telling.step(
            "Propose, sign as four roles, merge: one commit each; the reconciler verifies and serves"
        ):
            for made in trained:
                self.promote(made.model, made.version, "first version")
            for made in trained:
                self.wait_served(made.model, made.version)

    def promote(self, name: str, version: int, reason: str, *, proposed: bool = False) -> str:
        """Propose (unless `proposed`), approve in every role with the demo's keys, and merge; return the commit."""
        self.telling.now(f"{name} {version}")
        if not proposed:
            open_proposal(self.tower, name, version, reason=reason)
        environment = self.tower.settings.environment
        with self.tower.model(name) as model:
            roles = model.contract.approvals
        for role in roles:
            key = approvers.key(self.state.home, role)
            approver = approvers.address(role)
            approve(
                self.tower.repository,
                name,
                version,
                role,
                key=key,
                approver=approver,
                environment=environment,
            )
        trust = self.tower.trust_root
        return merge(self.tower.repository, name, version, allowed_signers=trust, environment=environment)

    def wait_served(self, name: str, version: int) -> float:
        """Wait until the routing table sends everybody to `version`; return the seconds."""
        log = self.state.home / "logs" / "reconciler.log"

        def served() -> bool:
            table = routing.read(self.tower.settings.path("routing"))
            route = table.routes.get(name) if table else None
            return bool(route and [a.version for a in route.arms] == [version])

        return health.poll(served, part=f"the reconciler ({name} {version})", deadline=60, log=log)

    # -- 3: traffic ----------------------------------------------------------------------------------------------------------

    def ninety_days(self) -> None:
        """Replay the past through Triton, with late labels and the shift of the last weeks."""
        with self.telling.step(
            f"Replay {self.days} days of traffic through Triton, labels arriving late"
        ) as step:
            for name, told in self.models.items():
                counts = replay(
                    self.writer,
                    name,
                    days=self.days,
                    progress=lambda day, name=name: self.telling.now(f"{name}, day {day}"),  # type: ignore[misc]
                )
                told.predictions, told.labels = counts["predictions"], counts["outcomes"]
            total = sum(m.predictions for m in self.models.values())
            step.result = (
                f"{total:,} predictions, {sum(m.labels for m in self.models.values()):,} labels on record"
            )

    # -- 4: Airflow ----------------------------------------------------------------------------------------------------------

    def watch_and_retrain(self) -> None:
        """Airflow tracks, finds the drift, and the drift wakes retraining, which proposes a version."""
        with self.telling.step("Airflow: track_performance") as step:
            self._dags_ready()
            for found in self._run("track_performance", "track"):
                self.models[found["model"]].status = found["status"]
            critical = [name for name, m in self.models.items() if m.status == "critical"]
            step.result = f"critical: {', '.join(critical) or 'none'}"
        with self.telling.step("Airflow: detect_drift") as step:
            tested = self._run("detect_drift", "detect")
            for one in tested:
                self.models[one["model"]].drifted = len(one["drifted"])
            alarmed = [one["model"] for one in tested if one["alarm"]]
            step.result = f"drift: {', '.join(alarmed) or 'none'}"
        if not alarmed:
            raise MedtowerError("the shift of the last weeks was not found; see the drift reports")
        self.hero = alarmed[0]
        with self.telling.step(
            "Airflow: retrain, woken by the drift asset: new version, gates, proposal"
        ) as step:
            made = next(r for r in self._woken("retrain", "train_and_propose") if r["model"] == self.hero)
            if not made["proposed"]:
                raise MedtowerError(f"the retrained {self.hero} did not pass its gates: {made['gates']}")
            self.retrained = int(made["version"])
            self.models[self.hero].versions[self.retrained] = "retrained on drift"
            step.result = f"{self.hero} {self.retrained}: {len(made['gates'])} gates passed, proposal open"

    def _dags_ready(self) -> None:
        for dag in DAGS:
            health.poll(
                lambda dag=dag: self.airflow.known(dag),  # type: ignore[misc]
                part=f"Airflow (the DAG {dag})",
                deadline=120,
                log=self.state.home / "logs" / "airflow-dags.log",
            )
        for dag in WATCHED:
            self.airflow.unpause(dag)

    def _run(self, dag: str, task: str) -> list[dict[str, Any]]:
        run_id = self.airflow.trigger(dag)
        self.airflow.wait(dag, run_id, told=self.telling.now)
        return self.airflow.results(dag, run_id, task)

    def _woken(self, dag: str, task: str) -> list[dict[str, Any]]:
        """The results of the run that an asset started; nobody triggers it here."""
        started: list[str] = []

        def woken() -> bool:
            started[:] = [
                r["dag_run_id"] for r in self.airflow.runs(dag) if r["run_type"] == "asset_triggered"
            ]
            return bool(started)

        health.poll(woken, part=f"Airflow (the asset that wakes {dag})", deadline=60)
        self.airflow.wait(dag, started[0], told=self.telling.now)
        return self.airflow.results(dag, started[0], task)

    # -- 5: promotion, the bad version, the revert ---------------------------------------------------------------------------

    def promote_the_retrained(self) -> None:
        """Sign and merge what retraining proposed, under live traffic."""
        with self.telling.step(
            f"Live traffic; {self.hero} {self.retrained} is signed, merged and serves"
        ) as step:
            self.client = self._client()
            self.client.start()
            self.promote(self.hero, self.retrained, "", proposed=True)
            seconds = self.wait_served(self.hero, self.retrained)
            step.result = f"served {seconds:.1f} s after the merge, {self.client.failed} failed requests"

    def _client(self) -> Client:
        from medtower.cohorts.load import today

        with self.tower.model(self.hero) as model:
            patients = today(model.contract, model.cohort, model.folder, n=2000, seed=3)
            return Client(self.tower.settings, model.contract, patients)

    def bad_version_and_revert(self) -> None:
        """A version that only looks good on a stale holdout goes live, tracking sees it, and one revert takes it back."""
        with self.telling.step(
            "A version trained on the stale cohort passes its gates and goes live"
        ) as step:
            made = train(self.tower, self.hero, reason="routine refresh", progress=self.telling.now)
            self.models[self.hero].versions[made.version] = "stale, reverted"
            self.promote(self.hero, made.version, "routine refresh")
            self.wait_served(self.hero, made.version)
            step.result = _headline(made)
        with self.telling.step(
            "Today's patients are answered by it, their outcomes arrive, tracking sees it"
        ) as step:
            self._collect_labels(made)
            found = next(r for r in self._run("track_performance", "track") if r["model"] == self.hero)
            if found["status"] != "critical":
                raise MedtowerError(f"tracking did not see the bad version: {found['status']}")
            step.result = f"critical: {', '.join(found['critical'])} (n={found['labelled']})"
        with self.telling.step("git revert") as step:
            self._revert(made)
            step.result = f"{self.revert_seconds:.2f} s to the old version's first answer, {self.failed_requests} failed requests of {self.requests}"

    def _collect_labels(self, made: Trained) -> None:
        started, needed = datetime.now(UTC) - timedelta(days=1), 300
        health.poll(
            lambda: sum(a.version == made.version for a in self.client.answers) >= needed,
            part="live traffic",
            deadline=60,
        )
        told = self.client.report_outcomes(made.version)
        self.telling.now(f"{told} outcomes reported")

        def on_record() -> bool:
            rows = self.tower.predictions.labelled(
                self.hero, made.version, started, datetime.now(UTC), datetime.now(UTC)
            )
            return sum(not math.isnan(v) for v in rows["outcome"]) >= told

        health.poll(
            on_record, part="the gateway's shipper", deadline=60, log=self.state.home / "logs" / "gateway.log"
        )

    def _revert(self, made: Trained) -> None:
        from medtower.workflows.rollback import rollback

        previous = self.retrained
        merged = time.monotonic()
        rollback(
            self.tower.repository, self.hero, f"{self.hero} {made.version} is critical on today's patients"
        )
        health.poll(
            lambda: self.client.first_after(merged, previous) is not None,
            part="the old version",
            deadline=60,
            log=self.state.home / "logs" / "reconciler.log",
        )
        answer = self.client.first_after(merged, previous)
        self.revert_seconds = answer.at - merged if answer else None
        self.client.stop()
        self.failed_requests, self.requests = self.client.failed, len(self.client.answers)


def _headline(made: Trained) -> str:
    known = [e for e in made.evaluation.estimates if e.population == "all" and e.value is not None]
    best = next((e for e in known if e.metric in ("auc_roc", "r2")), None)
    shown = f"{best.metric} {best.value:.3f} [{best.lower:.3f}–{best.upper:.3f}], " if best else ""
    verdict = (
        "gates passed"
        if made.passed
        else "gates: " + ", ".join(str(v.name) for v in made.gates if v.decision != "PROMOTE")
    )
    return f"version {made.version}, {shown}n={made.evaluation.n}, {verdict}"


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)
