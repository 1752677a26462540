"""The routing table on disk, and which arm a patient belongs to."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from pydantic import ValidationError

from medtower import atomic_file
from medtower.domain.routing import Arm, Route, RoutingTable
from medtower.errors import ModelMisbehaved, NotFound, Unavailable


def read(path: Path) -> RoutingTable:
    """The table published at `path`. Raises NotFound when there is none yet, Unavailable when the file is not a routing table."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound("the routing table", str(path), "the reconciler publishes it") from error
    except OSError as error:
        raise Unavailable("routing table", f"{path} cannot be read: {error.strerror}") from error
    try:
        return RoutingTable.model_validate_json(content)
    except ValidationError as error:
        where = ", ".join(sorted({".".join(map(str, e["loc"])) or "file" for e in error.errors()})[:3])
        raise Unavailable("routing table", f"{path} is not a routing table ({where})") from error


def current(path: Path) -> RoutingTable | None:
    """The table published at `path`, or None when there is none yet. Raises Unavailable when the file is not a routing table."""
    try:
        return read(path)
    except NotFound:
        return None


def check(route: Route) -> None:
    """Raise ModelMisbehaved unless `route` is the same after it was written and read: what JSON cannot say, the gateway cannot obey."""
    try:
        if Route.model_validate_json(route.model_dump_json(by_alias=True)) == route:
            return
    except ValueError:  # pydantic's errors for both directions are ValueErrors
        pass
    version = route.arms[0].version if route.arms else None
    raise ModelMisbehaved(route.model, version, "its route cannot be written as JSON and read back")


def publish(path: Path, table: RoutingTable) -> dict[str, str]:
    """Put `table` at `path` in one step: a reader sees the old table or the new one, also after a power cut.

    Returns the routes that were withheld, as {model: why}, because nobody could read them back: such a model is published without arms, and
    the others are published as they are. Raises Unavailable when the whole is not readable even so; then the old table stays.
    """
    table, withheld = _readable(table)
    try:
        content = table.model_dump_json(by_alias=True)
        RoutingTable.model_validate_json(content)
    except ValueError as error:
        raise Unavailable("routing table", "what would be published cannot be read back") from error
    atomic_file.write(path, content, mode=0o644)
    return withheld


def _readable(table: RoutingTable) -> tuple[RoutingTable, dict[str, str]]:
    routes, withheld = dict(table.routes), {}
    for model, route in table.routes.items():
        try:
            check(route)
        except ModelMisbehaved as error:
            routes[model], withheld[model] = Route(model=model, reason=str(error)), str(error)
    return table.model_copy(update={"routes": routes}), withheld


def choose(route: Route, subject: str) -> Arm:
    """The arm of `route` that `subject` (a pseudonym) belongs to. Raises Unavailable with the route's reason when it has no arms.

    Weighted rendezvous hashing (Thaler & Ravishankar 1998, doi:10.1109/90.663936, with the weights of Schindelhauer & Schomaker 2005,
    doi:10.1145/1073970.1074008): the same subject gets the same arm everywhere, and when an arm grows at another's cost nobody leaves it,
    so the arms of a rollout are nested. The order of the arms does not matter.
    """
    if not route.arms:
        raise Unavailable(f"model {route.model}", route.reason or "no version of it is ready")
    if len(route.arms) == 1:
        return route.arms[0]
    return max(route.arms, key=lambda arm: _score(route.model, arm, subject))


def _score(model: str, arm: Arm, subject: str) -> float:
    digest = hashlib.blake2b(
        f"{model}/{arm.version}/{subject}".encode(), digest_size=8, key=bytes.fromhex(arm.digest)
    ).digest()
    # the middle of one of 2^52 cells: never rounds to 0 or 1, where the logarithm has no use
    uniform = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return -arm.weight / math.log(uniform)
