"""The reconciler: level-triggered. It compares what git says (desired) with what Triton and the routing table do (actual), and acts until
they agree. Whatever fails, fails closed: that model's incumbent keeps serving, and other models go on."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from medtower.adapters.git import Repository
from medtower.adapters.triton import READY, Triton
from medtower.domain.audit_event import AuditEvent
from medtower.domain.contract import MODEL_NAME, ROLES, Role
from medtower.domain.routing import Route, RoutingTable
from medtower.errors import Conflict, MedtowerError, ModelMisbehaved, NotFound, Unavailable
from medtower.serving import routing
from medtower.serving.store import Store
from medtower.workflows import reconcile_model
from medtower.workflows.reconcile_desired import Desired, DesiredState
from medtower.workflows.reconcile_memory import Memory
from medtower.workflows.reconcile_metrics import ReconcileMetrics
from medtower.workflows.reconcile_model import Fetch, Parts, served
from medtower.workflows.reconcile_quarantine import Quarantine
from medtower.workflows.reconcile_report import ModelOutcome, ReconcileReport, failure_name, failure_text

log = logging.getLogger(__name__)
ACTOR = "reconciler"
LOOK_SECONDS = 0.2
TRITON_LOOK_SECONDS = 1.0
PASS_SECONDS = 10.0


class Reconciler:
    """One reconciler of one store and one routing table.

    `fetch(manifest, destination)` writes the weights of a version to the file `destination` (they are hashed here, not there); `on_event` is
    told of every change and every new failure. Nothing serves without the approval of the roles in `required`.
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
    ) -> None:
        self._repository = Repository(repository)
        self._desired = DesiredState(self._repository, trust_root, environment, required)
        self._routing, self._triton, self._metrics, self._tell = routing_path, triton, metrics, on_event
        self._lock = store.absolute().with_name(f"{store.name}.lock")
        self._parts = Parts(
            store=Store(store),
            triton=triton,
            memory=Memory(store.absolute().with_name(f"{store.name}.memory.json")),
            metrics=metrics,
            fetch=fetch,
            unsound=self._unsound,
        )
        self._routes: dict[str, Route] = {}
        self._failing: dict[str, str] = {}
        self._unsound_told: dict[tuple[str, int], str] = {}
        self._quarantine = Quarantine()
        self._expected: dict[str, set[int]] | None = None

    def once(self) -> ReconcileReport:
        """One pass over all models. Raises Conflict when another reconciler holds the lock, Unavailable when git cannot be read."""
        with self._exclusively():
            return self._pass()

    def watch(self, stop: threading.Event) -> None:
        """Pass whenever main moves or Triton has lost something, and every 10 s in any case, until `stop` is set."""
        seen: str | None = None
        passed = looked = float("-inf")
        with self._exclusively():
            while not stop.is_set():
                now, head = time.monotonic(), self._head()
                due = head != seen or now - passed >= PASS_SECONDS
                if not due and now - looked >= TRITON_LOOK_SECONDS:
                    looked, due = now, self._disturbed()
                if due:
                    seen, passed = head, now
                    self._guarded_pass()
                stop.wait(LOOK_SECONDS)

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
        self._routes = self._published()
        states = self._desired.at(commit)
        outcomes = [self._one(commit, desired) for desired in self._fastest_first(states)]
        for gone in self._routes.keys() - {d.model for d in states}:
            self._withdraw(commit, gone)
        self._publish(commit)
        self._remember_ready()
        report = ReconcileReport(
            commit=commit, finished_at=datetime.now(UTC), outcomes=sorted(outcomes, key=lambda o: o.model)
        )
        self._metrics.passed(report)
        return report

    def _fastest_first(self, states: list[Desired]) -> list[Desired]:
        """What is warm needs no load: a rollback never waits behind another model's promotion."""
        try:
            index = self._triton.index()
        except MedtowerError:
            return states
        return sorted(
            states, key=lambda d: d.version is not None and index.get((d.model, d.version)) != READY
        )

    def _one(self, commit: str, desired: Desired) -> ModelOutcome:
        model = desired.model
        before = self._routes.get(model)
        if held := self._quarantine.holds(desired):
            return self._failed(desired, held)
        try:
            self._reconcile(commit, desired, before)
        except MedtowerError as error:
            self._quarantine.failed(desired, error)
            return self._failed(desired, error)
        self._quarantine.passed(desired)
        self._failing.pop(model, None)
        after = self._routes[model]
        if before != after:
            verb = "serves" if after.arms else "serves no"
            self._event(
                verb, model, served(after), commit=commit, instead_of=served(before), reason=after.reason
            )
        return ModelOutcome(model=model, desired=desired.version, served=served(after), reason=after.reason)

    def _reconcile(self, commit: str, desired: Desired, before: Route | None) -> None:
        try:
            reconcile_model.reconcile(
                self._parts, desired, before, lambda route: self._publish(commit, route)
            )
        except OSError as error:
            raise Unavailable("disk", f"{error.strerror} ({desired.model})") from error
        except MedtowerError:
            raise
        except Exception as error:  # one model's surprise must not stop the others
            raise ModelMisbehaved(
                desired.model, desired.version, f"{type(error).__name__} while it was reconciled"
            ) from error

    def _failed(self, desired: Desired, error: MedtowerError) -> ModelOutcome:
        model, reason = desired.model, failure_text(error)
        incumbent = self._routes.get(model)
        try:
            reconcile_model.restore(self._parts, model, incumbent)
        except Exception as second:
            reason = f"{reason}; and the incumbent could not be loaded: {failure_text(second)}"
        if not served(incumbent) and MODEL_NAME.fullmatch(model):
            why = f"version {desired.version} may not serve: {failure_text(error)}"
            self._routes[model] = Route(model=model, reason=why)
        if self._failing.get(model) != str(error):
            self._failing[model] = str(error)
            self._event("refuses", model, desired.version, reason=reason, failure=failure_name(error))
        return ModelOutcome(
            model=model,
            desired=desired.version,
            served=served(incumbent),
            failure=failure_name(error),
            reason=reason,
        )

    def _withdraw(self, commit: str, model: str) -> None:
        route = self._routes.pop(model)
        self._publish(commit)
        self._event("withdraws", model, served(route), commit=commit)
        try:
            reconcile_model.withdraw(self._parts, model)
        except Exception as error:
            log.warning("could not unload", extra={"model": model, "reason": failure_text(error)})

    def _published(self) -> dict[str, Route]:
        try:
            return dict(routing.read(self._routing).routes)
        except NotFound:
            return {}
        except (
            Unavailable
        ):  # not a table (any more): the last one this process knew, else rebuilt from nothing
            return self._routes

    def _publish(self, commit: str, route: Route | None = None) -> None:
        """Publish all routes in one file. Also without news: the file's age tells the gateway that the reconciler is there."""
        if route is not None:
            if self._routes.get(route.model) == route:
                return
            self._routes[route.model] = route
        table = RoutingTable(commit=commit, published_at=datetime.now(UTC), routes=self._routes)
        for model, why in routing.publish(self._routing, table).items():
            log.error("a route is withheld", extra={"model": model, "reason": why})

    def _remember_ready(self) -> None:
        try:
            self._expected = self._ready_sets()
        except MedtowerError:
            self._expected = None

    def _disturbed(self) -> bool:
        """True when Triton has other versions READY than after the last pass; False while it does not answer at all."""
        try:
            return self._ready_sets() != self._expected
        except MedtowerError:
            self._expected = None
            return False

    def _ready_sets(self) -> dict[str, set[int]]:
        sets: dict[str, set[int]] = {}
        for (model, version), state in self._triton.index().items():
            if state == READY:
                sets.setdefault(model, set()).add(version)
        return sets

    def _unsound(self, model: str, version: int, error: MedtowerError) -> None:
        if self._unsound_told.get((model, version)) != str(error):
            self._unsound_told[model, version] = str(error)
            self._event(
                "refuses stored weights of", model, version, reason=str(error), failure=failure_name(error)
            )

    def _event(self, action: str, model: str, version: int | None, **details: str | int | None) -> None:
        subject = f"{model} {version}" if version else model
        log.info(
            "%s", action, extra={"model": model, "version": version, "reason": details.get("reason") or None}
        )
        self._tell(
            AuditEvent(
                at=datetime.now(UTC), actor=ACTOR, action=action, subject=subject, details=dict(details)
            )
        )

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Hold the lock of this store; the system lets go of it when the process dies."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Conflict(f"another reconciler works on {self._lock.parent}; stop it first") from None
        try:
            self._parts.store.tidy()
            yield
        finally:
            os.close(descriptor)
