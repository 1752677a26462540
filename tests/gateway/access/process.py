"""The gateway as its process serves it, in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI
from tests.gateway.server import wait_until

from medtower.gateway import serve
from medtower.settings import Settings


@contextmanager
def serving(app: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """`serve.serve` in a thread; the block gets the port."""
    servers: list[uvicorn.Server] = []
    listeners: list[socket.socket] = []

    class Noted(uvicorn.Server):
        def run(self, sockets: list[socket.socket] | None = None) -> None:
            listeners.extend(sockets or [])
            servers.append(self)
            super().run(sockets)

    monkeypatch.setattr(serve.uvicorn, "Server", Noted)
    thread = threading.Thread(target=serve.serve, args=(app, settings))
    thread.start()
    try:
        wait_until(lambda: (servers and servers[0].started) or not thread.is_alive())
        yield listeners[0].getsockname()[1]
    finally:
        servers[0].should_exit = True
        thread.join(30)
