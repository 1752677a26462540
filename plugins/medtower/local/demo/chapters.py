"""The chapters of the demo. Real parts only: what is shown is what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medtower.adapters.airflow_api import Airflow
from medtower.errors import MedtowerError
from medtower.local import health, state
from medtower.local.demo import approvers, bad_version
from medtower.local.demo.client import Client
from medtower.local.demo.steps import Telling, headline
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
        self.retrained = 0

    def tell(self) -> None:
        self.champions()
        self.ninety_days()
        self.watch_and_retrain()
        self.promote_the_retrained()
        bad_version.tell(self)

    # -- 1 and 2: champions ------------------------------------------------------------------------------------------------

    def champions(self) -> None:
        """Train, propose, sign and merge the first version of every model."""
        trained: list[Trained] = []
        for name in self.tower.names():
            self.models[name] = Model()
            with self.telling.step(f"Train {name}: cohort, expectations, torch, ONNX, gates, MLflow") as step:
                made = train(self.tower, name, reason="first version", progress=self.telling.now)
                step.result = headline(made)
                self.models[name].versions[made.version] = "champion"
            trained.append(made)
        with self.telling.step(
            "Propose, sign as four roles, merge: one commit each; the reconciler verifies and serves"
        ):
            for made in trained:
                self.promote(made.model, made.version, "first version")
            for made in trained:
                self.wait_served(made.model, made.version)

    def promote(self, name: str, version: int, reason: str) -> str:
        """Propose, approve in every role with the demo's keys, and merge; return the commit.

        Proposed as an emergency fix, which serves everybody at once: a rollout holds each of its steps for hours, and a demo has minutes.
        """
        self.telling.now(f"{name} {version}")
        open_proposal(self.tower, name, version, reason=reason, emergency=True)
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
        required = self.tower.settings.approval_roles
        return merge(
            self.tower.repository,
            name,
            version,
            allowed_signers=trust,
            environment=environment,
            required=required,
        )

    def wait_served(self, name: str, version: int) -> float:
        """Wait until the routing table sends everybody to `version`; return the seconds."""
        log = self.state.home / "logs" / "reconciler.log"

        def served() -> bool:
            table = routing.current(self.tower.settings.path("routing"))
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
            for found in self.run_dag("track_performance", "track"):
                self.models[found["model"]].status = found["status"]
            critical = [name for name, m in self.models.items() if m.status == "critical"]
            step.result = f"critical: {', '.join(critical) or 'none'}"
        with self.telling.step("Airflow: detect_drift") as step:
            tested = self.run_dag("detect_drift", "detect")
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
            results = self._woken("retrain", "train_and_propose")
            for other in results:
                state_of = "retrained, awaits approval" if other["proposed"] else "retrained, gates failed"
                self.models[other["model"]].versions[int(other["version"])] = state_of
            made = next(r for r in results if r["model"] == self.hero)
            if not made["proposed"]:
                raise MedtowerError(f"the retrained {self.hero} did not pass its gates: {made['gates']}")
            self.retrained = int(made["version"])
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

    def run_dag(self, dag: str, task: str) -> list[dict[str, Any]]:
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
            self.promote(self.hero, self.retrained, "")
            seconds = self.wait_served(self.hero, self.retrained)
            self.models[self.hero].versions[self.retrained] = "retrained on drift, serves"
            step.result = f"served {seconds:.1f} s after the merge, {self.client.failed} failed requests"

    def _client(self) -> Client:
        from medtower.cohorts.load import today

        with self.tower.model(self.hero) as model:
            patients = today(model.contract, model.cohort, model.folder, n=2000, seed=3)
            return Client(self.tower.settings, model.contract, patients)


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)
