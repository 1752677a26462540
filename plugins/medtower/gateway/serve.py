"""The gateway's process: `python -m medtower.gateway.serve`."""

from __future__ import annotations

import errno
import gc
import logging
import socket
import sys

import uvicorn
from fastapi import FastAPI

from medtower import log as logs
from medtower.adapters.postgres.predictions import PredictionStore
from medtower.errors import MedtowerError, PortTaken, Unavailable
from medtower.gateway.access import tls
from medtower.gateway.app import create
from medtower.gateway.http_connection import HttpConnection
from medtower.settings import Settings, settings

log = logging.getLogger(__name__)
GRACE_SECONDS = 10
IDLE_SECONDS = 5
"""After which a connection without a request is closed."""
YOUNG = 20_000  # new objects before garbage is looked for: a request makes some hundred, and few of them in circles
SWITCH_SECONDS = (
    0.0005  # Python's own 5 ms is how long a committed record could wait for the event loop to let it be told
)


def main() -> None:
    """Serve until SIGTERM or SIGINT. A part that is missing ends it with one line and the error's exit code."""
    logs.configure()
    sys.setswitchinterval(SWITCH_SECONDS)
    configuration = settings()
    dsn = configuration.dsn.get_secret_value()
    if not dsn:
        log.warning("MEDTOWER_DSN is empty: predictions stay in the spool")
    try:
        serve(create(configuration, sink=PredictionStore(dsn, keep=True) if dsn else None), configuration)
    except MedtowerError as error:
        log.error(str(error))
        sys.exit(error.exit_code)


def serve(app: FastAPI, configuration: Settings) -> None:
    """Run `app` on the address that is set (loopback by default). On a signal: no new requests, those in flight finish, the spool is shipped and closed. Raises PortTaken, or Refused when there is to be TLS and it cannot be."""
    context = tls.context(configuration)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpConnection,
        log_config=None,
        ws="none",  # there is no WebSocket here, and uvicorn logs the path of every one that is tried
        access_log=False,  # it would write paths, which callers choose
        proxy_headers=False,  # who the caller is decides what is open on loopback
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
        ssl_context_factory=(lambda *_: context) if context else None,
    )
    gc.collect()
    gc.freeze()  # what is there now stays: looking through it for garbage again and again would hold up every request for 40 ms
    gc.set_threshold(YOUNG)
    with listen(configuration.gateway_port, configuration.bind) as listener:
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int, address: str = "127.0.0.1") -> socket.socket:
    """A listening socket. Raises PortTaken, or Unavailable when the address cannot be listened on."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken("gateway", port, address=address, setting="set MEDTOWER_GATEWAY_PORT") from error
        why = f"{address}:{port} cannot be listened on ({error.strerror})"
        raise Unavailable("gateway", f"{why}; set MEDTOWER_BIND to an address of this machine") from error
    return listener


if __name__ == "__main__":
    main()
