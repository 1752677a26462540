"""An identity provider: keys to sign with, tokens, and a server that gives the public keys out, or fails to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER, AUDIENCE = "https://login.example.org/realm", "medtower"


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public(kid: str, key: Any, **more: Any) -> dict[str, Any]:
    """The public half of `key` as a JSON Web Key."""
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "use": "sig"} | more


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that count for ten minutes; one that is changed to None is left out."""
    now = int(time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "person-1", "iat": now, "exp": now + 600}
    named = {"name": "Zaphod-4711", "email": "zaphod-4711@example.org", "role": "clinician"}
    return {name: value for name, value in (made | named | changes).items() if value is not None}


def token(key: Any = None, kid: str | None = "r1", algorithm: str = "RS256", **changes: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), key or rsa_key("r1"), algorithm=algorithm, headers=headers)


class KeyServer:
    """Gives out `document` at `url`; `status` is what it answers, `hold` makes it wait. Counts how often it was asked."""

    def __init__(self, document: bytes) -> None:
        self.document, self.status, self.asked = document, 200, 0
        self.hold = threading.Event()
        self.hold.set()
        self.headers: dict[str, str] = {}
        self.url = ""


@contextmanager
def served(document: bytes) -> Iterator[KeyServer]:
    state = KeyServer(document)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            state.hold.wait(10)
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(state.document)))
            self.end_headers()
            self.wfile.write(state.document)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/jwks"
    try:
        yield state
    finally:
        state.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
