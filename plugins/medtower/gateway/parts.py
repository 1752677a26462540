"""What the gateway is made of, put together once at the start."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from medtower.adapters.spool import Spool
from medtower.errors import Refused
from medtower.gateway.breaker import Breakers
from medtower.gateway.inference import Triton
from medtower.gateway.metrics import Metrics
from medtower.gateway.record import Record
from medtower.gateway.routing_file import RoutingFile
from medtower.gateway.shadow import IN_FLIGHT, Shadowing
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
    breakers: Breakers
    shadowing: Shadowing
    api_key: bytes
    subject_key: bytes


def assemble(settings: Settings) -> Parts:
    """Open the spool. Raises Refused when a key is not set, RecordUnavailable when the spool cannot be opened."""
    api_key, subject_key = _secret(settings, "gateway_key"), _secret(settings, "subject_key")
    routing, metrics = RoutingFile(settings.path("routing")), Metrics()
    record = Record(Spool(settings.path("spool")))
    aside = Triton(settings.triton_url, connections=IN_FLIGHT)
    return Parts(
        api_key=api_key,
        subject_key=subject_key,
        routing=routing,
        triton=Triton(settings.triton_url),
        trial=Triton(settings.triton_url),
        record=record,
        metrics=metrics,
        breakers=Breakers(record.spool.opened()),
        shadowing=Shadowing(aside, routing, record, metrics),
    )


def _secret(settings: Settings, name: str) -> bytes:
    secret: SecretStr = getattr(settings, name)
    if not secret.get_secret_value():
        raise Refused("secrets", f"MEDTOWER_{name.upper()} is empty; generate one and set it")
    return secret.get_secret_value().encode()
