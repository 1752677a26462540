"""The reconciler as a process: its parts from the settings, its metrics on a port, its events in the audit trail."""

from __future__ import annotations

import logging
import queue
import signal
import threading
from pathlib import Path

from prometheus_client import REGISTRY, start_http_server

from medtower.adapters import weights
from medtower.adapters.postgres import audit as rows
from medtower.adapters.postgres.database import Database
from medtower.audit import chain
from medtower.domain.audit_event import AuditEvent
from medtower.domain.release import Manifest
from medtower.errors import DeadlineExceeded, MedtowerError, Unavailable
from medtower.settings import Settings
from medtower.workflows.health_metrics import HealthCollector
from medtower.workflows.reconcile import Reconciler
from medtower.workflows.reconcile.metrics import ReconcileMetrics
from medtower.workflows.tower import Tower

log = logging.getLogger(__name__)
RETRY_SECONDS = 5.0


class Trail(threading.Thread):
    """Appends events to the audit trail behind the reconciler's back: a rollback never waits for Postgres, and no event is dropped while it runs."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._waiting: queue.Queue[AuditEvent | None] = queue.Queue()

    def add(self, event: AuditEvent) -> None:
        self._waiting.put(event)

    def run(self) -> None:
        while (event := self._waiting.get()) is not None:
            while not self._append(event):
                threading.Event().wait(RETRY_SECONDS)

    def stop(self, seconds: float = 5.0) -> None:
        self._waiting.put(None)
        self.join(seconds)

    def _append(self, event: AuditEvent) -> bool:
        try:
            rows.append(self._database, event, chain.link)
        except (Unavailable, DeadlineExceeded) as error:
            log.warning(
                "the audit trail is behind", extra={"reason": str(error), "count": self._waiting.qsize() + 1}
            )
            return False
        except MedtowerError as error:  # it would never be taken, and the events behind it wait
            log.error(f"not in the audit trail: {event}", extra={"reason": str(error)})
        return True


def run(chosen: Settings, *, watch: bool) -> int:
    """One pass (returns 0 when every model is as git says, else 1), or passes until SIGTERM or SIGINT."""
    tower = Tower(chosen)
    trail = Trail(tower.database)
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
        metrics=ReconcileMetrics(),
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
