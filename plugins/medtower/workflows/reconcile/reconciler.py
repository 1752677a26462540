"""The reconciler: level-triggered. It compares what git says (desired) with what Triton and the routing table do (actual), and acts until
they agree. Whatever fails, fails closed: that model's incumbent keeps serving, and other models go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path

from medtower.adapters.git import Repository
from medtower.adapters.triton import READY, Triton
from medtower.domain.audit_event import AuditEvent
from medtower.domain.contract import ROLES, Role
from medtower.errors import MedtowerError, Unavailable
from medtower.serving.store import Store
from medtower.workflows.reconcile.collect import Collector
from medtower.workflows.reconcile.desired import Desired, DesiredState
from medtower.workflows.reconcile.downloads import Downloads, Fetch
from medtower.workflows.reconcile.lock import exclusively
from medtower.workflows.reconcile.memory import Memory
from medtower.workflows.reconcile.metrics import ReconcileMetrics
from medtower.workflows.reconcile.parts import Parts
from medtower.workflows.reconcile.passing import Passing
from medtower.workflows.reconcile.report import ReconcileReport, failure_name, failure_text
from medtower.workflows.reconcile.routes import Routes
from medtower.workflows.reconcile.trusted import Trusted

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.2
TRITON_LOOK_SECONDS = 1.0
PASS_SECONDS = 10.0
KEEP_RELEASES = 5


class Reconciler:
    """One reconciler of one store and one routing table.

    `fetch(manifest, destination)` completes the file `destination` with the weights of a version (they are hashed here, not there); `on_event` is
    told of every change and every new failure. Nothing serves without the approval of the roles in `required`. The weights of the last
    `keep_releases` releases stay in the store. `reached` is told of the steps (see `parts.STEPS`).
    """

    def __init__(
        self,
        *,
        repository: Path,
        store: Path,
        routing_path: Path,
        triton: Triton,
        trust_root: Path,
        environment: str,
        fetch: Fetch,
        on_event: Callable[[AuditEvent], None],
        metrics: ReconcileMetrics,
        required: Collection[Role] = ROLES,
        keep_releases: int = KEEP_RELEASES,
        reached: Callable[[str], None] = lambda step: log.debug("reached", extra={"step": step}),
    ) -> None:
        self._repository, self._triton, self._metrics = Repository(repository), triton, metrics
        self._lock = store.absolute().with_name(f"{store.name}.lock")
        self._store = Store(store)
        memory = Memory(store.absolute().with_name(f"{store.name}.memory.json"))
        self._trusted = Trusted(trust_root, environment, required, memory)
        self._desired = DesiredState(self._repository, self._trusted, memory)
        self._routes = Routes(routing_path, on_event, reached)
        self._downloads = Downloads(self._store, fetch)
        self._collector = Collector(self._repository, self._store, triton, memory, keep_releases)
        self._models = Passing(
            lambda unsound: Parts(self._store, triton, memory, metrics, self._downloads, unsound, reached),
            self._routes,
            on_event,
        )
        self._expected: set[tuple[str, int]] | None = None

    def once(self) -> ReconcileReport:
        """Pass over all models until nothing is left to fetch. Raises Conflict when another reconciler holds the lock, Unavailable when git
        cannot be read."""
        with exclusively(self._lock):
            self._store.tidy()
            report = self._pass()
            while report.fetching:
                self._downloads.wait()
                report = self._pass()
            return report

    def watch(self, stop: threading.Event) -> None:
        """Pass whenever main moves, a download ended or Triton has lost something, and every 10 s in any case, until `stop` is set."""
        seen: str | None = None
        passed = looked = float("-inf")
        with exclusively(self._lock):
            self._store.tidy()
            while not stop.is_set():
                now, head = time.monotonic(), self._head()
                due = head != seen or now - passed >= PASS_SECONDS or self._downloads.finished.is_set()
                if not due and now - looked >= TRITON_LOOK_SECONDS:
                    looked, due = now, self._disturbed()
                if due:
                    seen, passed = head, now
                    self._downloads.finished.clear()
                    self._guarded_pass()
                self._downloads.finished.wait(LOOK_SECONDS)

    def _head(self) -> str | None:
        try:
            return self._repository.head()
        except MedtowerError:  # the pass says what is wrong
            return None

    def _guarded_pass(self) -> None:
        try:
            self._pass()
        except Exception as error:  # the next pass may do better, and a process that ended does nothing
            self._metrics.broken(failure_name(error))
            log.error("the pass failed; routes stay as they are", extra={"reason": failure_text(error)})

    def _pass(self) -> ReconcileReport:
        commit = self._repository.head()
        if commit is None:
            raise Unavailable("git", f"{self._repository.path} has no main branch yet")
        self._routes.look()
        states = self._desired.at(commit)
        self._models.dispute(self._trusted.dispute)
        outcomes = [self._models.one(commit, desired) for desired in self._fastest_first(states)]
        for gone in self._routes.by_model.keys() - {d.model for d in states}:
            self._models.withdraw(commit, gone)
        self._routes.publish(commit)
        self._expected = self._ready()
        report = ReconcileReport(
            commit=commit, finished_at=datetime.now(UTC), outcomes=sorted(outcomes, key=lambda o: o.model)
        )
        self._metrics.passed(report, disputed=self._trusted.dispute is not None)
        if report.ok and not report.fetching:
            self._collect(commit)
        return report

    def _collect(self, commit: str) -> None:
        try:
            self._collector.collect(commit, self._routes, self._downloads.under_way)
        except (MedtowerError, OSError) as error:
            log.warning("the store was not cleared of old versions", extra={"reason": failure_text(error)})

    def _fastest_first(self, states: list[Desired]) -> list[Desired]:
        """What is warm needs no load: a rollback never waits behind another model's promotion."""
        ready = self._ready()
        if ready is None:
            return states
        return sorted(states, key=lambda d: any((d.model, v.version) not in ready for v in d.serving))

    def _disturbed(self) -> bool:
        """True when Triton has other versions READY than after the last pass; False while it does not answer at all."""
        ready = self._ready()
        if ready is None:
            self._expected = None
        return ready is not None and ready != self._expected

    def _ready(self) -> set[tuple[str, int]] | None:
        try:
            return {key for key, state in self._triton.index().items() if state == READY}
        except MedtowerError:
            return None
