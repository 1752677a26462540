"""What the gateway is made of, put together once at the start."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from medtower.adapters.spool import Spool
from medtower.errors import Refused
from medtower.gateway.inference import Triton
from medtower.gateway.metrics import Metrics
from medtower.gateway.record import Record
from medtower.gateway.routing_file import RoutingFile
from medtower.settings import Settings


@dataclass(frozen=True)
class Parts:
    """Everything a request may touch."""

    routing: RoutingFile
    triton: Triton
    record: Record
    metrics: Metrics
    api_key: bytes
    subject_key: bytes


def assemble(settings: Settings) -> Parts:
    """Open the spool. Raises Refused when a key is not set, RecordUnavailable when the spool cannot be opened."""
    return Parts(
        api_key=_secret(settings, "gateway_key"),
        subject_key=_secret(settings, "subject_key"),
        routing=RoutingFile(settings.path("routing")),
        triton=Triton(settings.triton_url),
        record=Record(Spool(settings.path("spool"))),
        metrics=Metrics(),
    )


def _secret(settings: Settings, name: str) -> bytes:
    secret: SecretStr = getattr(settings, name)
    if not secret.get_secret_value():
        raise Refused("secrets", f"MEDTOWER_{name.upper()} is empty; generate one and set it")
    return secret.get_secret_value().encode()
