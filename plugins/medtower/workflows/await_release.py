"""Wait until a release is what serves: the PostSync hook of a model, `python -m medtower.workflows.await_release MODEL release.yaml`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from medtower import log as logs
from medtower.domain.release import Release
from medtower.domain.routing import Route
from medtower.errors import MedtowerError, NotFound, Unavailable
from medtower.releases import release_file
from medtower.serving import routing
from medtower.settings import Settings, settings
from medtower.wait import wait_until

log = logging.getLogger(__name__)
SECONDS = 100.0  # the hook has 120, and its message should be heard
LOOK_SECONDS = 0.5


class Served(BaseModel):
    """What is read of an arm in the gateway's answer."""

    digest: str


class Card(BaseModel):
    """What is read of a model in the gateway's answer."""

    name: str
    released: list[Served]


CARDS = TypeAdapter(list[Card])


def await_release(
    chosen: Settings, release: Release, *, seconds: float, client: httpx.Client | None = None
) -> str:
    """Return one sentence as soon as the reconciler has published `release` (each digest in routing.json was READY and passed its golden
    inference) and the gateway answers by that table. Raises Unavailable with what is still missing after `seconds`."""
    headers = {"X-API-Key": chosen.gateway_key.get_secret_value()}
    missing = ""
    with client or httpx.Client(base_url=chosen.gateway_url, headers=headers, timeout=5) as gateway:

        def serves() -> bool:
            nonlocal missing
            missing = _missing(chosen.path("routing"), release, gateway)
            return not missing

        if not wait_until(serves, seconds, every=LOOK_SECONDS):
            raise Unavailable(f"{release.model} {release.version or 'without a version'}", missing)
    if release.digest is None:
        return f"{release.model}: no model answers, as released"
    return f"{release.model} {release.version} (digest {release.digest[:12]}…) is in service"


def _missing(table: Path, release: Release, gateway: httpx.Client) -> str:
    """What is not yet as released; empty when all is."""
    try:
        route = routing.read(table).routes.get(release.model)
        if route is None:
            return "the reconciler does not know the model yet"
        if not published(route, release):
            return f"the reconciler does not route to it; it says: {route.reason or 'nothing'}"
        if answering(gateway).get(release.model) != {arm.digest for arm in route.arms}:
            return "the gateway does not answer by the reconciler's table yet"
    except (NotFound, Unavailable) as error:
        return str(error)
    return ""


def published(route: Route, release: Release) -> bool:
    """True when `route` is one of this release: its digest answers (or scores in the shadow), or nothing does when no model is released."""
    digests = {arm.digest for arm in route.arms} | ({route.shadow.digest} if route.shadow else set())
    return release.digest in digests if release.digest else not route.arms


def answering(gateway: httpx.Client) -> Mapping[str, set[str]]:
    """The digests by which the gateway answers, by model. Raises Unavailable."""
    try:
        response = gateway.get("/api/v1/ml/models")
        response.raise_for_status()
        cards = CARDS.validate_python(response.json()["models"])
    except (httpx.HTTPError, ValidationError, ValueError, KeyError, TypeError) as error:
        raise Unavailable("gateway", type(error).__name__) from None
    return {card.name: {served.digest for served in card.released} for card in cards}


def main(model: str, path: str) -> int:
    """Wait for the release in the file `path`; the exit code of the hook."""
    logs.configure()
    try:
        release = release_file.parse(Path(path).read_bytes(), model)
        log.info(await_release(settings(), release, seconds=SECONDS))
    except MedtowerError as error:
        log.error(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
