"""A real HTTP server on a free loopback port, in a thread; and the one function that waits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from medtower import wait


def wait_until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Return when `condition()` is true; raise TimeoutError after `seconds`."""
    if not wait.wait_until(lambda: bool(condition()), seconds, every=0.005):
        raise TimeoutError


@contextmanager
def running(app: Any) -> Iterator[str]:
    """`app` behind uvicorn; the address is what the block gets."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, proxy_headers=False, loop="uvloop")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
