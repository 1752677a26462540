"""What the gateway is made of, put together once at the start."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from medtower.adapters.spool import Spool
from medtower.errors import Refused
from medtower.gateway.access.identify import Access, access_of
from medtower.gateway.answering import cache
from medtower.gateway.answering.breaker import Breakers
from medtower.gateway.answering.cache import Cache
from medtower.gateway.answering.circuit import Circuits
from medtower.gateway.answering.escalation import Escalations
from medtower.gateway.answering.inference import Triton
from medtower.gateway.answering.shadow import IN_FLIGHT, Shadowing
from medtower.gateway.answering.webhooks import Webhooks
from medtower.gateway.observing.metrics import Metrics
from medtower.gateway.observing.observed import Observer
from medtower.gateway.recording.record import Record
from medtower.gateway.routing_file import RoutingFile
from medtower.settings import Settings


@dataclass(frozen=True)
class Parts:
    """Everything a request may touch. `trial` is Triton for the candidates of rollouts: with connections of their own, those that hang take none
    that an incumbent's patient needs."""

    routing: RoutingFile
    triton: Triton
    trial: Triton
    record: Record
    metrics: Metrics
    observer: Observer
    cache: Cache
    breakers: Breakers
    circuits: Circuits
    shadowing: Shadowing
    access: Access
    escalations: Escalations
    subject_key: bytes


def assemble(settings: Settings) -> Parts:
    """Open the spool. Raises Refused when a key is not set, RecordUnavailable when the spool cannot be opened."""
    subject_key, access = _secret(settings, "subject_key"), access_of(settings)
    routing, metrics = RoutingFile(settings.path("routing")), Metrics()
    observer, inferences = (
        Observer.of(settings, metrics),
        cache.opened(settings, subject_key, metrics.cache_failed),
    )
    record = Record(Spool(settings.path("spool"), committed=metrics.committed))
    triton, trial = Triton(settings.triton_url), Triton(settings.triton_url)
    for client in (triton, trial):
        client.batches.left = metrics.batched
    metrics.queue_depth.set_function(lambda: triton.batches.depth() + trial.batches.depth())
    aside = Triton(settings.triton_url, connections=IN_FLIGHT)
    return Parts(
        access=access,
        escalations=_escalations(settings, record, metrics),
        subject_key=subject_key,
        routing=routing,
        triton=triton,
        trial=trial,
        record=record,
        metrics=metrics,
        observer=observer,
        cache=inferences,
        breakers=Breakers(record.spool.opened()),
        circuits=Circuits(),
        shadowing=Shadowing(aside, routing, record, metrics),
    )


def _escalations(settings: Settings, record: Record, metrics: Metrics) -> Escalations:
    urls = {name: url.get_secret_value() for name, url in settings.webhooks.items()}
    webhooks = Webhooks(urls, settings.webhook_authority)
    return Escalations(webhooks, record, metrics, wait=settings.escalation_wait_ms / 1000)


def _secret(settings: Settings, name: str) -> bytes:
    secret: SecretStr = getattr(settings, name)
    if not secret.get_secret_value():
        raise Refused("secrets", f"MEDTOWER_{name.upper()} is empty; generate one and set it")
    return secret.get_secret_value().encode()
