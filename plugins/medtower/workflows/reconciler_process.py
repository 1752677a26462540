"""The reconciler as a process: its parts from the settings, its metrics on a port, its events in the audit trail."""

from __future__ import annotations

import logging
import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from prometheus_client import REGISTRY, start_http_server

from medtower.adapters import weights
from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.audit import chain
from medtower.domain.audit_event import AuditEvent
from medtower.domain.release import Manifest
from medtower.errors import DeadlineExceeded, Unavailable
from medtower.settings import Settings
from medtower.workflows.health_metrics import HealthCollector
from medtower.workflows.reconcile import Reconciler
from medtower.workflows.reconcile.metrics import ReconcileMetrics
from medtower.workflows.tower import Tower

log = logging.getLogger(__name__)
RETRY_SECONDS = 5.0
AGAIN_SECONDS = 60.0


class Trail(threading.Thread):
    """Appends events to the audit trail behind the reconciler's back: a rollback never waits for Postgres, and no event is dropped while it runs.

    One that is refused is told, set aside and tried again after every `AGAIN_SECONDS`; those behind it do not wait for it. `waiting` is told how many
    events are not in the trail yet.
    """

    def __init__(self, database: Database, waiting: Callable[[int], None] = lambda _: None) -> None:
        super().__init__(daemon=True)
        self._database, self._tell_waiting = database, waiting
        self._waiting: queue.Queue[AuditEvent | None] = queue.Queue()
        self._refused: list[AuditEvent] = []

    def add(self, event: AuditEvent) -> None:
        self._waiting.put(event)

    def run(self) -> None:
        going_on = True
        while going_on:
            going_on = self._round()
            self._tell_waiting(self._waiting.unfinished_tasks)

    def stop(self, seconds: float = 5.0) -> None:
        self._waiting.put(None)
        self.join(seconds)
        if left := self._waiting.unfinished_tasks - self.is_alive():  # that which ends it is none
            log.error(f"{left} events are not in the audit trail, and this process ends")

    def _round(self) -> bool:
        """Append the next event; those that were refused, when none comes. False when there is none to come."""
        try:
            event = self._waiting.get(timeout=AGAIN_SECONDS if self._refused else None)
        except queue.Empty:
            self._again()
            return True
        if event is None:
            self._waiting.task_done()
            self._again()
        elif not self._append(event):
            self._refused.append(event)
        return event is not None

    def _again(self) -> None:
        self._refused = [event for event in self._refused if not self._append(event, again=True)]

    def _append(self, event: AuditEvent, *, again: bool = False) -> bool:
        """False for what is refused; while Postgres is away it waits."""
        while True:
            try:
                rows.append(self._database, event, chain.link)
                self._waiting.task_done()
                return True
            except (Unavailable, DeadlineExceeded) as error:
                behind = self._waiting.unfinished_tasks
                log.warning("the audit trail is behind", extra={"reason": str(error), "count": behind})
                self._tell_waiting(behind)
            except Exception as error:  # whatever it is: the events behind it wait
                if not again:
                    reason = f"{type(error).__name__}: {error}"
                    log.error(f"not in the audit trail yet: {event}", extra={"reason": reason})
                return False
            threading.Event().wait(RETRY_SECONDS)


def run(chosen: Settings, *, watch: bool) -> int:
    """One pass (returns 0 when every model is as git says, else 1), or passes until SIGTERM or SIGINT."""
    tower = Tower(chosen)
    metrics = ReconcileMetrics()
    trail = Trail(tower.database, metrics.audit_waits)
    trail.start()
    reconciler = Reconciler(
        repository=chosen.path("repository"),
        store=chosen.path("store"),
        routing_path=chosen.path("routing"),
        triton=tower.triton,
        trust_root=tower.trust_root,
        environment=chosen.environment,
        fetch=lambda manifest, destination: fetch(tower, manifest, destination),
        on_event=trail.add,
        metrics=metrics,
        required=chosen.approval_roles,
        keep_releases=chosen.store_keep_releases,
    )
    for slow in (weights.warm_up, tower.registry.warm_up):
        threading.Thread(target=slow, daemon=True).start()
    try:
        if not watch:
            report = reconciler.once()
            for outcome in report.outcomes:
                log.info(str(outcome))
            return 0 if report.ok else 1
        REGISTRY.register(HealthCollector(tower.database, chosen.path("routing")))
        start_http_server(chosen.reconciler_port, chosen.bind)
        reconciler.watch(_stop_on_signal())
        return 0
    finally:
        trail.stop()


def fetch(tower: Tower, manifest: Manifest, destination: Path) -> None:
    """Complete the file `destination` with the weights that the manifest names, signed by the key that registers weights.

    Raises Unavailable, DigestMismatch, NotFound, and Refused for a signature that does not verify; then nothing of the file is gone on with.
    """
    bound = manifest.weights
    signature = tower.registry.complete_weights(
        manifest.weights_uri, destination, size=bound.bytes, sha256=bound.sha256
    )
    weights.verify(destination, signature, tower.settings.path("weights_pub"))


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
