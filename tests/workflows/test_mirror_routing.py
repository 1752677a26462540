"""The copy of the routing table beside Airflow's tasks: as the gateway obeys it, and the last one while the gateway is away."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from tests.fixtures.releases import contract

from medtower.domain.routing import Arm, Route, RoutingTable
from medtower.errors import Unavailable
from medtower.serving import routing
from medtower.settings import Settings
from medtower.wait import wait_until
from medtower.workflows import mirror_routing

ARM = {"name": "current", "version": 1, "digest": "a" * 64, "weight": 100, "contract": contract("als_risk")}


def table(commit: str) -> RoutingTable:
    route = Route(model="als_risk", arms=[Arm.model_validate(ARM)])
    return RoutingTable(commit=commit, published_at=datetime.now(UTC), routes={"als_risk": route})


def gateway(*answers: RoutingTable | int | bytes) -> httpx.Client:
    """A gateway that gives these answers, the last one for ever."""
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.url.path, request.headers["X-API-Key"]) == ("/api/v1/ml/routing", "key")
        told = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(told, int):
            return httpx.Response(told)
        if isinstance(told, bytes):
            return httpx.Response(200, content=told)
        return httpx.Response(
            200, json={"table": told.model_dump(mode="json", by_alias=True), "disclaimer": ""}
        )

    return httpx.Client(
        base_url="http://gateway", headers={"X-API-Key": "key"}, transport=httpx.MockTransport(answer)
    )


def test_the_copy_is_the_table(tmp_path: Path) -> None:
    told = table("c0ffee")
    mirror_routing.copy(gateway(told), tmp_path / "routing.json")
    assert routing.read(tmp_path / "routing.json") == told


@pytest.mark.parametrize("answer", [503, b"{}", b"nonsense", b'{"table": {"commit": "x"}}'])
def test_what_is_no_table_leaves_the_last_copy(tmp_path: Path, answer: int | bytes) -> None:
    path = tmp_path / "routing.json"
    client = gateway(table("c0ffee"), answer)
    mirror_routing.copy(client, path)
    with pytest.raises(Unavailable, match="gateway"):
        mirror_routing.copy(client, path)
    assert routing.read(path).commit == "c0ffee"


def test_it_goes_on_until_it_is_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_routing, "SECONDS", 0.01)
    chosen = Settings(home=tmp_path, gateway_key=SecretStr("key"))
    path, stop = chosen.path("routing"), threading.Event()
    client = gateway(503, table("first"), 503, table("second"))
    thread = threading.Thread(target=mirror_routing.follow, args=(chosen, stop, client))
    thread.start()
    try:
        assert wait_until(lambda: path.exists() and routing.read(path).commit == "second", 10)
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
