"""Where the gateway listens: on the address that is set, and only there."""

from __future__ import annotations

import socket
import sys
import threading

import pytest
import uvicorn
from fastapi import FastAPI
from tests.gateway.server import wait_until

from medtower.errors import PortTaken
from medtower.gateway import serve
from medtower.settings import Settings

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux answers on the whole of 127.0.0.0/8"
)


def answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=5):
            return True
    except ConnectionRefusedError:
        return False


@pytest.mark.parametrize(
    ("bind", "elsewhere"), [(None, "127.0.0.2"), ("127.0.0.2", "127.0.0.1")], ids=["unset", "set"]
)
def test_the_gateway_listens_on_the_address_that_is_set_and_only_there(
    monkeypatch: pytest.MonkeyPatch, bind: str | None, elsewhere: str
) -> None:
    monkeypatch.delenv("MEDTOWER_BIND", raising=False)
    if bind:
        monkeypatch.setenv("MEDTOWER_BIND", bind)
    monkeypatch.setenv("MEDTOWER_GATEWAY_PORT", "0")
    servers: list[uvicorn.Server] = []
    listeners: list[socket.socket] = []

    class Noted(uvicorn.Server):
        """Uvicorn's own server, which this test can find and stop."""

        def run(self, sockets: list[socket.socket] | None = None) -> None:
            listeners.extend(sockets or [])
            servers.append(self)
            super().run(sockets)

    monkeypatch.setattr(serve.uvicorn, "Server", Noted)
    thread = threading.Thread(target=serve.serve, args=(FastAPI(), Settings()))
    thread.start()
    try:
        wait_until(lambda: (servers and servers[0].started) or not thread.is_alive())
        address, port = listeners[0].getsockname()
        assert address == (bind or "127.0.0.1")
        assert answers(address, port)
        assert not answers(elsewhere, port)
    finally:
        servers[0].should_exit = True
        thread.join(30)


def test_a_port_taken_on_one_address_is_free_on_another_and_taken_on_its_own() -> None:
    with serve.listen(0, "127.0.0.2") as taken:
        port = taken.getsockname()[1]
        serve.listen(port, "127.0.0.3").close()
        with pytest.raises(PortTaken):
            serve.listen(port, "127.0.0.2")
