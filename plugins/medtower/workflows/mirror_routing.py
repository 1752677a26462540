"""Keep a copy of the routing table beside tasks that cannot mount the reconciler's file: `python -m medtower.workflows.mirror_routing`.

It is the table that the gateway obeys. While the gateway is away the last copy stays.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError

from medtower import log as logs
from medtower.domain.routing import RoutingTable
from medtower.errors import MedtowerError, Unavailable
from medtower.serving import routing
from medtower.settings import Settings, settings

log = logging.getLogger(__name__)
SECONDS = 1.0


class Told(BaseModel):
    """What is read of the gateway's answer."""

    table: RoutingTable


def copy(gateway: httpx.Client, path: Path) -> None:
    """Put the gateway's table at `path` in one step. Raises Unavailable when it tells none."""
    try:
        response = gateway.get("/api/v1/ml/routing")
        response.raise_for_status()
        told = Told.model_validate_json(response.content)
    except (httpx.HTTPError, ValidationError) as error:
        raise Unavailable("gateway", f"it told no routing table ({type(error).__name__})") from None
    routing.publish(path, told.table)


def follow(chosen: Settings, stop: threading.Event, client: httpx.Client | None = None) -> None:
    """Copy every `SECONDS` until `stop` is set. A failure is told once."""
    said = ""
    headers = {"X-API-Key": chosen.gateway_key.get_secret_value()}
    with client or httpx.Client(
        base_url=chosen.gateway_url, headers=headers, timeout=5, trust_env=False
    ) as gateway:
        while not stop.is_set():
            try:
                copy(gateway, chosen.path("routing"))
                said = ""
            except (MedtowerError, OSError) as error:
                if said != str(error):
                    said = str(error)
                    log.warning("the routing table was not copied", extra={"reason": said})
            stop.wait(SECONDS)


def main() -> int:
    logs.configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    follow(settings(), stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
