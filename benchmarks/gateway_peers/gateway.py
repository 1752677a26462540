"""This gateway before the real Triton: its four protocols, with the durable record (and a Postgres that it is shipped to) and without."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import httpx
from benchmarks.gateway_peers import v2
from benchmarks.gateway_peers.backing import Backing
from benchmarks.gateway_peers.network import FEATURES, MODEL, Network
from benchmarks.gateway_peers.process import ROOT, Served, Unusable, free_ports
from benchmarks.gateway_peers.target import Grpc, Http, Running, Target

from medtower.adapters import api_keys
from medtower.domain.api_key import ApiKey, HashedSecret
from medtower.local import health

PROTOCOLS = ("gateway_v2_json", "gateway_v2_binary", "gateway_grpc", "gateway_rest")
WITHOUT = "_no_record"
NAMES = PROTOCOLS
NAMES_WITHOUT = tuple(name + WITHOUT for name in PROTOCOLS)
PREDICT = f"/api/v1/ml/predict/{MODEL}"
SHIPPED_SECONDS = 300


class Gateway:
    """One gateway over `backing`: it can be killed and started again on the same port, over the same spool. `record=False` starts the
    benchmark's own wiring, in which nothing is kept. `more` are further settings, without their prefix."""

    def __init__(
        self, backing: Backing, *, record: bool = True, more: Mapping[str, str] | None = None
    ) -> None:
        self._backing, self._record, self._more = backing, record, dict(more or {})
        self.key = _registered(backing.home / "access.json")
        self._subject_key = secrets.token_urlsafe(32)
        self.port, self.grpc_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"X-API-Key": self.key}
        self.process: Served | None = None

    def start(self) -> Served:
        """Start it and return once it says that it can answer and keep the record."""
        module = (
            "medtower.gateway.serve"
            if self._record
            else "benchmarks.gateway_peers.served.gateway_without_record"
        )
        self.process = Served(
            "gateway", [sys.executable, "-m", module], self._environment(), self._backing.home
        )
        self.process.wait(f"{self.url}/health/ready")
        return self.process

    def stop(self) -> None:
        if self.process:
            self.process.end()
            self.process = None

    def shipped(self) -> None:
        """Return once the spool holds nothing that Postgres does not have. Raises DeadlineExceeded."""
        health.poll(
            lambda: self.metric("medtower_spool_depth") == 0, part="the spool", deadline=SHIPPED_SECONDS
        )

    def nothing_kept(self) -> None:
        """Raise Unusable when the spool holds something: then "record off" would be said of a record that is on."""
        if self.metric("medtower_spool_depth"):
            raise Unusable(
                "gateway", "its record is on: the wiring of the benchmark does not fit the gateway"
            )

    def metric(self, name: str) -> float:
        """The value of one sample of its metrics page, 0 when it is not there."""
        page = httpx.get(f"{self.url}/metrics", headers=self.headers, timeout=10, trust_env=False).text
        return next(
            (float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name} ")), 0.0
        )

    def _environment(self) -> dict[str, str]:
        settings = {
            "HOME": str(self._backing.home),
            "SPOOL": str(self._backing.home / f"spool-{self.port}" / "predictions.sqlite"),
            "TRITON_URL": self._backing.triton_url,
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_GRPC_PORT": str(self.grpc_port),
            "SUBJECT_KEY": self._subject_key,
            "DSN": self._backing.dsn("medtower_gateway") if self._record else "",
            **self._more,
        }
        return {**{f"MEDTOWER_{name}": value for name, value in settings.items()}, "PYTHONPATH": str(ROOT)}


def _registered(path: Path) -> str:
    """A new key of a caller who may do everything, as often as it can: the benchmark does not measure the rate limit."""
    identity = f"bench-{secrets.token_hex(4)}"
    key = api_keys.new_secret(identity)
    hashed = (HashedSecret(sha256=api_keys.digest(key)),)
    made = ApiKey(
        id=identity, role="admin", created=datetime.now(UTC), rate=1e6, burst=1_000_000, secrets=hashed
    )
    api_keys.add(path, made)
    return key


@contextmanager
def started(backing: Backing) -> Iterator[Running]:
    """The gateway with its record, before Triton and Postgres."""
    backing.start_postgres()
    try:
        with _started(backing, record=True) as running:
            yield running
    finally:
        backing.stop_postgres()


@contextmanager
def started_without_record(backing: Backing) -> Iterator[Running]:
    """The gateway with nothing kept: what the record costs is the difference."""
    with _started(backing, record=False) as running:
        yield running


@contextmanager
def _started(backing: Backing, *, record: bool) -> Iterator[Running]:
    backing.start_triton()
    gateway = Gateway(backing, record=record)
    try:
        process = gateway.start()
        found = targets(gateway, backing.network, "" if record else WITHOUT)
        yield Running(
            process, version("medtower"), found, gateway.shipped if record else gateway.nothing_kept
        )
    finally:
        gateway.stop()
        backing.stop_triton()


def targets(gateway: Gateway, network: Network, suffix: str) -> list[Target]:
    """Its protocols; V2 takes the very bytes that raw Triton takes."""
    headers, bodies = v2.binary(network)
    names = [name + suffix for name in PROTOCOLS]
    metadata = {"x-api-key": gateway.key}
    return [
        Http(
            names[0],
            gateway.url + v2.PATH,
            {**v2.JSON, **gateway.headers},
            v2.json_bodies(network),
            v2.read_json,
        ),
        Http(names[1], gateway.url + v2.PATH, {**headers, **gateway.headers}, bodies, v2.read_binary),
        Grpc(names[2], f"127.0.0.1:{gateway.grpc_port}", metadata, v2.grpc_requests(network), v2.read_grpc),
        Http(names[3], gateway.url + PREDICT, {**v2.JSON, **gateway.headers}, questions(network), read),
    ]


def questions(network: Network) -> list[bytes]:
    """One row each as named features of a subject; the gateway gives each a request id of its own."""
    return [
        json.dumps(
            {
                "subject_id": f"subject-{number}",
                "features": {name: round(float(value), 3) for name, value in zip(FEATURES, row, strict=True)},
            }
        ).encode()
        for number, row in enumerate(network.rows)
    ]


def read(answer: httpx.Response) -> float:
    return float(answer.json()["prediction"])
