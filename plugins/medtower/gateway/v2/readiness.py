"""Whether the gateway, and a model of it, can answer now and keep the record."""

from __future__ import annotations

from medtower.domain.routing import Route
from medtower.errors import MedtowerError, RecordUnavailable, Unavailable
from medtower.gateway.parts import Parts
from medtower.gateway.v2.asking import named_by


async def server(parts: Parts) -> bool:
    """Whether a routing table was read and the record took a row just now."""
    try:
        parts.routing.table()
        await parts.record.probe()
    except (Unavailable, RecordUnavailable):
        return False
    return True


async def model(parts: Parts, route: Route, version: int) -> bool:
    """Whether `version` of the model (0: any) answers: routing knows only what is loaded and passed its golden inference, and Triton is there."""
    try:
        named_by(route, version)
    except MedtowerError:
        return False
    return await parts.triton.ready()
